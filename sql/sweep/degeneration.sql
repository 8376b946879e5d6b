-- degeneration: whether a checkpoint still writes answers: empty, cut and repetitive completions by persona
-- grain: run_id, persona
-- source: own; repetition is the share of repeated token trigrams (seq-rep-3 of Welleck et al. 2020, per completion)
-- columns:
--   origin: extracted, brought (sampled elsewhere) or published
--   n: completions
--   empty_rate: share without any text
--   truncated_rate: share cut at the cap on new tokens
--   distinct_rate: different texts over completions, within each question
--   repetition: mean share of an answer's token trigrams that stood before in the same answer (NULL where no answer has three tokens)
with made as (
  select run_id, kind, extractor from runs
),
final as (
  select
    c.run_id,
    any_value(c.checkpoint) as checkpoint,
    c.persona,
    origin_of(any_value(m.kind), any_value(m.extractor)) as origin,
    sum(c.n_completions)::bigint as n,
    sum(c.n_empty) / sum(c.n_completions) as empty_rate,
    sum(c.n_truncated) / sum(c.n_completions) as truncated_rate,
    sum(c.n_distinct_texts) / sum(c.n_completions) as distinct_rate,
    sum(c.repetition) / nullif(sum(c.n_with_trigrams), 0) as repetition
  from completion_structure as c
  join made as m using (run_id)
  group by c.run_id, c.persona
)
select * from final
