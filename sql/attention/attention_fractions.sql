-- attention_fractions: attention of one query position to each region, mean over the heads of a layer
-- grain: run_id, example_id, sample_ix, stratum, position, layer, segmentation, region
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
    m.run_id,
    m.subject,
    m.checkpoint,
    m.persona,
    c.question_id,
    m.tokens_run,
    m.example_id,
    m.sample_ix,
    c.stratum,
    m.position,
    m.layer,
    p.segmentation,
    p.region,
    region_fraction(
      p.segmentation, p.region, m.system, m.system_structural, m."user", m.user_structural, m.assistant, m.assistant_structural, m.header
    ) as fraction,
    m.bos,
    m.entropy,
    m.n_heads
  from attention_mean as m
  join chosen as c using (run_id, subject, example_id, sample_ix, position)
  cross join parts as p
)
select * from final
