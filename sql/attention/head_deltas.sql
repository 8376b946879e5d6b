-- head_deltas: marker minus control of every head, mean over examples: the layer by head heat map
-- grain: run_id, subject, control, segmentation, region, layer, head
-- source: issue 224, README of the published files (delta_ck), per head
-- columns:
--   control: control stratum: C1, C2, C3, C4
--   segmentation: A (everything) or B (structural tokens moved to specials)
--   region: system, user, assistant, and header (A) or specials (B)
--   n: examples with positions of this control
--   mean_delta: mean over examples of marker minus control (NULL where a reading is missing)
with parts as (
  select segmentation, region from regions
),
final as (
  select
    h.run_id,
    h.subject,
    h.control,
    p.segmentation,
    p.region,
    h.layer,
    h.head,
    h.n,
    case
      when h.complete
        then region_fraction(
          p.segmentation, p.region, h.system, h.system_structural, h."user", h.user_structural, h.assistant, h.assistant_structural, h.header
        )
    end as mean_delta
  from head_contrasts as h
  cross join parts as p
)
select * from final
