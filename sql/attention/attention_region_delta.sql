-- attention_region_delta: marker minus control for every region, per example and layer (mean over heads); extracted data only
-- grain: run_id, example_id, sample_ix, control, layer, segmentation, region
-- source: issue 224, README of the published files (regions, delta_ck)
-- columns:
--   control: control stratum: C1, C2, C3, C4
--   segmentation: A (everything) or B (structural tokens moved to specials)
--   region: system, user, assistant, and header (A) or specials (B)
--   delta: marker_value minus control_value
--   marker_value: fraction on the region at the marker
--   control_value: mean of the same fraction over the control's positions
with parts as (
  select segmentation, region from regions
),
valued as (
  select
    c.run_id,
    c.subject,
    c.checkpoint,
    c.persona,
    c.question_id,
    c.tokens_run,
    c.example_id,
    c.sample_ix,
    c.control,
    c.layer,
    p.segmentation,
    p.region,
    region_fraction(
      p.segmentation, p.region, c.marker_system, c.marker_system_structural, c.marker_user, c.marker_user_structural,
      c.marker_assistant, c.marker_assistant_structural, c.marker_header
    ) as marker_value,
    region_fraction(
      p.segmentation, p.region, c.control_system, c.control_system_structural, c.control_user, c.control_user_structural,
      c.control_assistant, c.control_assistant_structural, c.control_header
    ) as control_value
  from attention_contrasts as c
  cross join parts as p
),
final as (
  select *, marker_value - control_value as delta from valued where marker_value - control_value is not null
)
select * from final
