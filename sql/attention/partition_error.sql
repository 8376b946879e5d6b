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
  select run_id, subject, example_id, sample_ix, position from positions where stratum = 'marker'
),
-- regions are summed beside each other: a row for each would be eight times as many to group
examples_read as (
  select
    m.run_id,
    m.subject,
    m.layer,
    m.example_id,
    m.sample_ix,
    sum(
      regions_total('A', m.system, m.system_structural, m."user", m.user_structural, m.assistant, m.assistant_structural, m.header)
    ) as everything,
    sum(
      regions_total('B', m.system, m.system_structural, m."user", m.user_structural, m.assistant, m.assistant_structural, m.header)
    ) as specials_apart
  from attention_mean as m
  join marked as c using (run_id, subject, example_id, sample_ix, position)
  group by m.run_id, m.subject, m.layer, m.example_id, m.sample_ix
),
layers as (
  select
    run_id,
    subject,
    layer,
    avg(everything) as total_a,
    max(abs(everything - 1)) as worst_a,
    avg(specials_apart) as total_b,
    max(abs(specials_apart - 1)) as worst_b
  from examples_read
  group by run_id, subject, layer
),
final as (
  select run_id, subject, 'extracted' as origin, 'A' as segmentation, layer, total_a as total, abs(total_a - 1) as error, worst_a as worst from layers
  union all
  select run_id, subject, 'extracted', 'B', layer, total_b, abs(total_b - 1), worst_b from layers
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
