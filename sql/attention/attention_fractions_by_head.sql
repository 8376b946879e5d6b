-- attention_fractions_by_head: attention of one head from one query position to each region
-- grain: run_id, example_id, sample_ix, stratum, position, layer, head, segmentation, region
-- source: own readout; regions as in issue 224
-- columns:
--   segmentation: A (everything) or B (structural tokens moved to specials)
--   region: system, user, assistant, and header (A) or specials (B)
--   fraction: share of the query's attention on the region
with chosen as (
  select run_id, subject, question_id, example_id, sample_ix, stratum, position from positions
),
parts as (
  select segmentation, region from regions
),
final as (
  select
    a.run_id,
    a.subject,
    a.checkpoint,
    a.persona,
    c.question_id,
    a.tokens_run,
    a.example_id,
    a.sample_ix,
    c.stratum,
    a.position,
    a.layer,
    a.head,
    p.segmentation,
    p.region,
    region_fraction(
      p.segmentation, p.region, a.system, a.system_structural, a."user", a.user_structural, a.assistant, a.assistant_structural, a.header
    ) as fraction,
    a.bos,
    a.entropy
  from attention as a
  join chosen as c using (run_id, subject, example_id, sample_ix, position)
  cross join parts as p
)
select * from final
