-- completion_structure: form of the completions of each question: lists, empty and cut answers, repetition; counted at commit, since reading every text again is slow
-- key: run_id, persona, question_id
-- sort: persona, question_id
-- rollup of: completions
select
  run_id,
  checkpoint,
  persona,
  question_id,
  count(*)::integer as n_completions, -- completions of the question
  (count(*) filter (bullets > 0 and 2 * bullets >= lines))::integer as n_structured, -- those with at least half of their non-empty lines beginning with - or *
  (count(*) filter (lines = 0))::integer as n_empty, -- those without any text
  (count(*) filter (finish_reason = 'length'))::integer as n_truncated, -- those cut at the cap on new tokens
  count(distinct text)::integer as n_distinct_texts, -- different texts among them
  (count(*) filter (len(trigrams) > 0))::integer as n_with_trigrams, -- those of at least three tokens
  sum(1 - len(list_distinct(trigrams)) / nullif(len(trigrams), 0)) as repetition -- sum over those of the share of token trigrams that stood before in the answer
from (
  select
    *,
    list_transform(string_split(text, chr(10)), lambda line: ltrim(line, ' ' || chr(9) || chr(13))) as stripped,
    len(list_filter(stripped, lambda line: line <> '')) as lines,
    len(list_filter(stripped, lambda line: left(line, 1) in ('-', '*'))) as bullets,
    list_slice(token_ids, prompt_len + 1, len(token_ids)) as answer,
    list_transform(range(1, greatest(1, len(answer) - 1)), lambda i: [answer[i], answer[i + 1], answer[i + 2]]) as trigrams
  from completions
)
group by all
