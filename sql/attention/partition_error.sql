-- partition_error: do the regions of a segmentation sum to one at the marker?
-- grain: run_id, subject, segmentation, layer
-- source: issue 224, README of the published files (segmentations A and B each sum to 1)
-- columns:
--   origin: extracted or published
--   segmentation: A (everything) or B (structural tokens moved to specials)
--   total: mean over examples of the sum over regions at the marker
--   error: absolute difference of total from 1
--   worst: largest absolute difference of one example (NULL where published)
with marked as (
  select run_id, subject, segmentation, layer, example_id, sample_ix, sum(fraction) as total
  from attention_fractions
  where stratum = 'marker'
  group by run_id, subject, segmentation, layer, example_id, sample_ix
),
final as (
  select
    run_id,
    subject,
    'extracted' as origin,
    segmentation,
    layer,
    avg(total) as total,
    abs(avg(total) - 1) as error,
    max(abs(total - 1)) as worst
  from marked
  group by run_id, subject, segmentation, layer
  union all
  select
    any_value(run_id),
    subject,
    'published',
    segmentation,
    layer,
    sum(marker_mean),
    abs(sum(marker_mean) - 1),
    null
  from published_regions
  group by subject, segmentation, layer
  having count(marker_mean) = 4
)
select * from final
