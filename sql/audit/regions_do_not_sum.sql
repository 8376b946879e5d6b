-- regions_do_not_sum: regions of a segmentation that miss a sum of one by more than the run-time tolerance of the study
-- grain: subject
-- source: issue 224, README of the published files (tolerance 5e-3)
-- severity: error
-- page: marker_attention
-- columns:
--   subject: checkpoint plus whose tokens it read, and the segmentation
with sums as (
  select * from partition_error where greatest(error, worst) > 5e-3
),
final as (
  select
    subject_of(format('{}, segmentation {}', subject, segmentation), run_id) as subject,
    format('the regions miss a sum of 1 by up to {} in {} layers', figure(max(greatest(error, worst))), count(*)) as finding,
    format(
      'select layer, total, error, worst from partition_error where run_id = {} and segmentation = {} and greatest(error, worst) > 0.005 order by layer',
      sql_text(run_id),
      sql_text(segmentation)
    ) as evidence
  from sums
  group by run_id, subject, segmentation
)
select * from final
