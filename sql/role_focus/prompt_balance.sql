-- prompt_balance: how long the prompts of each category are for the tokenizer of each run; entropy grows with length, so categories have to match
-- grain: run_id, category
-- source: own
-- columns:
--   form: raw (the bare question) or chat (through a chat template); NULL in a run that only brought the prompts in
--   n: prompts of the category
--   n_distinct: distinct texts among them
--   mean_words: mean number of words of the question
--   mean_tokens: mean number of tokens of the prompt, chat template included (NULL where no tokenizer has seen it)
--   min_tokens: its shortest
--   max_tokens: its longest
--   sd_tokens: standard deviation over prompts, n - 1
--   difference_to_neutral: mean_tokens minus that of the category neutral (NULL where the set has none)
--   n_pairs: prompts with a neutral one of the same question_id
--   mean_pair_difference: mean over those pairs of the tokens beyond the neutral prompt's
--   largest_pair_difference: largest absolute difference of a pair, tokens
with origins as (
  select run_id, checkpoint from runs
),
asked as (
  select
    *,
    case when template_hash is not null then 'chat' when prompt_len is not null then 'raw' end as form,
    len(regexp_split_to_array(trim(question), '\s+')) as n_words
  from examples
  where category is not null
),
neutral as (
  select run_id, persona, condition, prompt_form, question_id, any_value(prompt_len) as neutral_len
  from asked
  where category = 'neutral'
  group by all
),
paired as (
  select a.*, n.question_id is not null as has_pair, a.prompt_len - n.neutral_len as beyond
  from asked as a
  left join neutral as n
    on n.run_id = a.run_id
    and n.persona is not distinct from a.persona
    and n.condition is not distinct from a.condition
    and n.prompt_form is not distinct from a.prompt_form
    and n.question_id = a.question_id
),
counted as (
  select
    run_id,
    any_value(prompt_set) as prompt_set,
    any_value(form) as form,
    category,
    count(*) as n,
    count(distinct question) as n_distinct,
    avg(n_words) as mean_words,
    avg(prompt_len) as mean_tokens,
    min(prompt_len) as min_tokens,
    max(prompt_len) as max_tokens,
    stddev_samp(prompt_len) as sd_tokens,
    count(*) filter (has_pair) as n_pairs,
    avg(beyond) as mean_pair_difference,
    max(abs(beyond)) as largest_pair_difference
  from paired
  group by run_id, category
),
final as (
  select
    c.run_id,
    c.prompt_set,
    o.checkpoint,
    c.form,
    c.category,
    c.n,
    c.n_distinct,
    c.mean_words,
    c.mean_tokens,
    c.min_tokens,
    c.max_tokens,
    c.sd_tokens,
    c.mean_tokens - max(c.mean_tokens) filter (c.category = 'neutral') over (partition by c.run_id) as difference_to_neutral,
    c.n_pairs,
    c.mean_pair_difference,
    c.largest_pair_difference
  from counted as c
  left join origins as o using (run_id)
)
select * from final
