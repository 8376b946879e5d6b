-- nan_in_source: a file that holds NaN, which sorts above every number and passes every threshold where it is not taken for missing
-- grain: subject
-- source: own; the lake stores NULL
-- severity: note
-- page: overview
-- columns:
--   subject: run
with ingested as (
  select run_id, extractor, nan_to_null from runs where nan_to_null > 0
),
final as (
  select
    run_id as subject,
    format('{} NaN values of the input are stored as NULL', nan_to_null) as finding,
    format('select run_id, command, nan_to_null from runs where run_id = {}', sql_text(run_id)) as evidence
  from ingested
)
select * from final
