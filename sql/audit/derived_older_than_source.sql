-- derived_older_than_source: a result made from another state of its input than the one in the lake or beside it
-- grain: subject
-- source: own; runs by what they recorded of their inputs, published files by the timestamps in them
-- severity: warning
-- page: overview
-- columns:
--   subject: the run, or the published file
with readers as (
  select run_id, started, unnest(inputs) as input_run from runs where kind <> 'analysis'
),
inputs as (
  select run_id as input_run, finished from runs
),
stamps as (
  select
    regexp_extract(source_file, '^(.*/)?[^/]*$', 1) as folder,
    source_file,
    max(try_cast(trim(value, '"') as timestamp)) filter (regexp_matches(name, '(^|\.)timestamp_utc$')) as written,
    any_value(trim(value, '"')) filter (regexp_matches(name, '(^|\.)stage$')) as stage
  from published_facts
  group by source_file
),
redone as (
  select
    r.run_id as name,
    r.input_run,
    format('started {} before its input {} was finished: it read an earlier state of it', age_words(i.finished - r.started), r.input_run) as finding,
    format('select run_id, started, finished, inputs from runs where run_id in ({}, {})', sql_text(r.run_id), sql_text(r.input_run)) as evidence
  from readers as r
  join inputs as i using (input_run)
  where i.finished > r.started
  union all
  select
    run_id,
    input_run,
    case status
      when 'outdated' then format('was computed from {} as it was finished {}; that run has been redone since; `personascope analyse` computes it anew', input_run, input_seen)
      else format('was computed from {}, which is no longer in the lake', input_run)
    end,
    format('select run_id, input_run, input_seen, input_finished, status from analyses where run_id = {}', sql_text(run_id))
  from analyses
  where (status = 'outdated' and input_seen is not null) or status = 'orphaned'
  union all
  select
    d.source_file,
    s.source_file,
    format('was written {}, before the generations it is about ({}, {})', d.written, s.source_file, s.written),
    format('select source_file, name, value from published_facts where source_file in ({}, {}) and name like {}', sql_text(d.source_file), sql_text(s.source_file), sql_text('%timestamp_utc'))
  from stamps as d
  join stamps as s using (folder)
  where d.stage = 'analyze' and s.stage = 'generate' and d.written < s.written
),
final as (
  select subject_of(name, input_run) as subject, finding, evidence from redone
)
select * from final
