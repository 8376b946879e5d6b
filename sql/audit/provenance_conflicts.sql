-- provenance_conflicts: files of one published run, or runs of one study, that disagree on what made them: commit, LoRA rank, batch size, model, versions
-- grain: subject
-- source: own; published files of one folder are taken as one run, times and stages may differ between them
-- severity: warning
-- page: overview
-- columns:
--   subject: folder or study, and the field
with stated as (
  select
    regexp_extract(source_file, '^(.*/)?[^/]*$', 1) as folder,
    source_file,
    name,
    case when starts_with(name, 'metadata.') then substr(name, 10) else regexp_extract(name, '[^.]+$') end as field,
    value
  from published_facts
  where
    starts_with(name, 'metadata.')
    or record = 'run_metadata'
    or regexp_matches(name, '(^|[._])(git_commit|commit|lora_r|lora_rank|rank|batch_size|base_model|base_model_id)$')
),
conflicts as (
  select folder, field, count(distinct source_file) as n_files, count(distinct value) as n_values
  from stated
  where not regexp_matches(field, 'time|date|stage')
  group by folder, field
  having count(distinct value) > 1
),
said as (
  select folder, field, value, count(distinct source_file) as n, min(regexp_extract(source_file, '[^/]*$')) as file
  from stated
  join conflicts using (folder, field)
  group by folder, field, value
),
committed as (
  select study, kind, git_commit, count(*) as n
  from runs
  where study is not null and git_commit is not null and kind in ('extract', 'train')
  group by study, kind, git_commit
),
final as (
  select
    concat_ws(', ', rtrim(folder, '/'), field) as subject,
    format(
      '{} values of {}: {}',
      count(*),
      field,
      string_agg(format('{} in {}', trim(value, '"'), case when n = 1 then file else format('{} files', n) end), ', ' order by n desc, value)
    ) as finding,
    format(
      'select source_file, name, value from published_facts where starts_with(source_file, {}) and ends_with(name, {}) order by value',
      sql_text(folder),
      sql_text(field)
    ) as evidence
  from said
  group by folder, field
  union all
  select
    format('study {}, git_commit of {} runs', study, kind),
    format('{} runs were made by {} states of the code: {}', sum(n), count(*), string_agg(format('{} by {}', n, left(git_commit, 7)), ', ' order by n desc, git_commit)),
    format('select run_id, extractor, git_commit, git_dirty, finished from runs where study = {} and kind = {} order by finished', sql_text(study), sql_text(kind))
  from committed
  group by study, kind
  having count(*) > 1
)
select * from final
