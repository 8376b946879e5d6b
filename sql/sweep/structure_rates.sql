-- structure_rates: share of completions that are mostly a bullet list, a sign that an answer was learned by form
-- grain: run_id, persona
-- source: README of the published sweep: at least half of the non-empty lines begin with - or *; the same rule on own completions
-- columns:
--   origin: extracted, brought (sampled elsewhere) or published
--   n: completions (NULL where a published file does not say)
--   rate: share of them that are mostly a bullet list
with counted as (
  select run_id, checkpoint, persona, n_completions, n_structured from completion_structure
),
made as (
  select run_id, kind, extractor from runs
),
stated as (
  select run_id, n_questions::bigint * n_completions as n from published_results
),
final as (
  select
    c.run_id,
    any_value(c.checkpoint) as checkpoint,
    c.persona,
    origin_of(any_value(m.kind), any_value(m.extractor)) as origin,
    sum(c.n_completions)::bigint as n,
    sum(c.n_structured) / sum(c.n_completions) as rate
  from counted as c
  join made as m using (run_id)
  group by c.run_id, c.persona
  union all
  select p.run_id, p.checkpoint, p.persona, 'published', coalesce(p.total, s.n), p.rate
  from published_rates as p
  left join stated as s using (run_id)
  where p.measure = 'structure' and not p.repeated
)
select * from final
