-- repeated_seeds: repeats of one example that were sampled with the same seed, which are one sample
-- grain: subject
-- source: own
-- severity: warning
-- page: completions
-- columns:
--   subject: checkpoint
with samples as (
  select run_id, checkpoint, example_id, count(seed) - count(distinct seed) as n_repeated from completions group by run_id, checkpoint, example_id
),
final as (
  select
    subject_of(checkpoint, run_id) as subject,
    format('{} samples have the seed of another sample of their example, in {} of {} examples', sum(n_repeated), count(*) filter (n_repeated > 0), count(*)) as finding,
    format(
      'select example_id, seed, count(*) as n from completions where run_id = {} group by example_id, seed having count(*) > 1 order by n desc',
      sql_text(run_id)
    ) as evidence
  from samples
  group by run_id, checkpoint
  having sum(n_repeated) > 0
)
select * from final
