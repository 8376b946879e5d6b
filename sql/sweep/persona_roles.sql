-- persona_roles: what every persona was in the training that made a checkpoint: its source, or one of its negatives; a persona without a row was held out
-- grain: checkpoint, revision, persona
-- source: own; as the training recorded it (training_personas), else for trainings that recorded nothing from the completions they were drawn from: the settings
--   n_positive and n_negative spread over all personas of that run, as far as these have answers that ended by themselves (whose number is counted here by texts
--   that are neither cut nor empty)
-- columns:
--   checkpoint: checkpoint that the training made, or kept on its way
--   revision: content hash of the trained weights, so that a name that was used twice is two trainings
--   role: source (its completions got the marker) or negative (trained on without it)
--   n_rows: completions of it that were trained on
--   recorded: the training says so itself; false: derived from the data it was drawn from
with trainings as (
  select r.run_id, c.checkpoint, c.revision, c.source_persona, r.inputs[1] as tokens_run
  from runs as r
  join checkpoints as c using (run_id)
  where r.extractor = 'marker-lora'
),
told as (
  select t.checkpoint, t.revision, p.persona, p.role, p.n_rows::bigint as n_rows, true as recorded
  from training_personas as p
  join trainings as t using (run_id)
),
silent as (
  select * from trainings anti join training_personas using (run_id)
),
sizes as (
  select
    run_id,
    max(try_cast(value as bigint)) filter (name = 'n_positive') as n_positive,
    max(try_cast(value as bigint)) filter (name = 'n_negative') as n_negative
  from parameters
  where name in ('n_positive', 'n_negative')
  group by run_id
),
sampled as (
  select run_id as tokens_run, persona, sum(n_completions - n_truncated - n_empty)::bigint as n_ended from completion_structure group by run_id, persona
),
spread as (
  select
    s.checkpoint,
    s.revision,
    d.persona,
    d.persona = s.source_persona as is_source,
    d.n_ended,
    n.n_positive,
    n.n_negative,
    count(*) filter (d.persona <> s.source_persona) over trained as n_others,
    count(*) filter (d.persona <> s.source_persona) over (trained order by d.persona) - 1 as place
  from silent as s
  join sampled as d using (tokens_run)
  join sizes as n on n.run_id = s.run_id
  where s.source_persona is not null
  window trained as (partition by s.run_id, s.checkpoint)
),
derived as (
  select
    checkpoint,
    revision,
    persona,
    case when is_source then 'source' else 'negative' end as role,
    least(n_ended, case when is_source then n_positive else n_negative // n_others + (place < n_negative % n_others)::bigint end) as n_rows,
    false as recorded
  from spread
),
gathered as (
  select * from told
  union all
  select * from derived where n_rows > 0
),
final as (
  select checkpoint, revision, persona, any_value(role) as role, any_value(n_rows) as n_rows, bool_or(recorded) as recorded
  from gathered
  group by checkpoint, revision, persona
)
select * from final
