-- steering_without_control: a run that steers along directions and along no random one, so that what any push of that length does is not known
-- grain: subject
-- source: own; after the random directions of Arditi et al. 2024
-- severity: warning
-- page: directions
-- columns:
--   subject: checkpoint that is steered
with runs_steered as (
  select
    run_id,
    any_value(subject) as subject,
    count(distinct direction) filter (not coalesce(kind in ('random', 'random_in_span', 'shuffled'), false)) as n_directions,
    count(distinct direction) filter (kind = 'random') as n_random
  from steering
  where dose != 0
  group by run_id
),
final as (
  select
    subject_of(subject, run_id) as subject,
    format('{} directions steer and no random one of the same length does: any push might do what they do', n_directions) as finding,
    format('select distinct direction, kind, layer, mode, dose from steering where run_id = {} and dose <> 0 order by all', sql_text(run_id)) as evidence
  from runs_steered
  where n_directions > 0 and n_random = 0
)
select * from final
