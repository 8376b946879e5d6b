-- untracked_runs: runs of a study that are in no tracking server although others of the same study are
-- grain: subject
-- source: own; the published case sent 19 of 25 runs to no tracked project
-- severity: note
-- page: overview
-- columns:
--   subject: study
with worked as (
  select study, mlflow_run_id from runs where study is not null and kind in ('extract', 'train')
),
final as (
  select
    study as subject,
    format('{} of {} runs were not logged to MLflow', count(*) - count(mlflow_run_id), count(*)) as finding,
    format(
      'select run_id, extractor, command, finished from runs where study = {} and kind in ({}, {}) and mlflow_run_id is null order by finished',
      sql_text(study),
      sql_text('extract'),
      sql_text('train')
    ) as evidence
  from worked
  group by study
  having count(mlflow_run_id) between 1 and count(*) - 1
)
select * from final
