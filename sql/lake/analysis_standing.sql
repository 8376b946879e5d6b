-- analysis_standing: every computed analysis, whether it still stands, and which one of several is to be read
-- grain: run_id
-- outcomes: status
-- source: own; sums up the inputs of `analyses`
-- columns:
--   inputs: runs it was computed from, by name
--   status: current where every input is; else orphaned, outdated or superseded, the first of these that an input is, as in analyses
--   is_current: status is current
--   place: order in which views read analyses that answer the same question, from 1: current ones first, the newest of them before the others
with judged as (
  select
    run_id,
    extractor,
    subject,
    finished,
    list(input_run order by input_run) as inputs,
    case
      when bool_and(status = 'current') then 'current'
      when bool_or(status = 'orphaned') then 'orphaned'
      when bool_or(status = 'outdated') then 'outdated'
      else 'superseded'
    end as status
  from analyses
  group by run_id, extractor, subject, finished
)
select *, status = 'current' as is_current, row_number() over (order by is_current desc, finished desc, run_id) as place from judged
