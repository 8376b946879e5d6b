-- analyses: every computed analysis and whether the run it was computed from is still the same
-- grain: run_id, input_run
-- outcomes: status
-- source: own; an analysis records when its input was finished, so no two clocks are compared
-- columns:
--   input_run: run the analysis read
--   input_seen: when that run was finished as the analysis found it, UTC
--   input_finished: when the run of that name now in the lake was finished, UTC
--   status: current; superseded (a newer one of the same inputs); outdated (its input was redone since); orphaned (its input was deleted). Views read current ones only
with present as (
  select run_id, kind, extractor, subject, started, finished, inputs from runs
),
computed as (
  select run_id, extractor, subject, started, finished, list_sort(inputs) as together, unnest(inputs) as input_run from present where kind = 'analysis'
),
inputs as (
  select run_id as input_run, finished as input_finished from present
),
stamps as (
  select run_id, name, trim(value, '"')::timestamp as input_seen from parameters where starts_with(name, 'input_finished.')
),
judged as (
  select
    c.*,
    s.input_seen,
    i.input_finished,
    case
      when i.input_run is null then 'orphaned'
      when s.input_seen is distinct from i.input_finished then 'outdated'
      else 'current'
    end as standing
  from computed as c
  left join inputs as i using (input_run)
  left join stamps as s on s.run_id = c.run_id and s.name = 'input_finished.' || c.input_run
),
final as (
  select
    run_id,
    input_run,
    extractor,
    subject,
    started,
    finished,
    input_seen,
    input_finished,
    case
      when standing = 'current' and row_number() over (partition by extractor, subject, together, input_run, standing order by finished desc, run_id) > 1 then 'superseded'
      else standing
    end as status
  from judged
)
select * from final
