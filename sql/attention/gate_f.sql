-- gate_f: was attention to the system prompt raised well before the marker already? Then the effect belongs to the answer, not to the marker
-- grain: run_id, subject
-- source: issue 224, README of the published files (gate F)
-- columns:
--   origin: extracted or published
--   applicable: there is a window and trajectories of both kinds of generation were read
--   first_layer: first layer of the longest window (NULL where there is none)
--   last_layer: its last layer
--   early: absolute band mean five steps before the marker
--   at_marker: absolute band mean at the marker
--   ratio: early over at_marker
--   reframe: ratio above 0.5
--   peak_step: step of the largest band mean, the first on ties
with readouts as (
  select run_id, subject, origin from subjects
),
limits as (
  select
    max(value) filter (name = 'trajectory_lead') as lead_steps,
    max(value) filter (name = 'trajectory_ratio') as ratio
  from thresholds
),
measured as (
  select
    b.run_id,
    b.subject,
    b.first_layer,
    b.last_layer,
    max(abs(b.band_mean)) filter (b.from_marker = -l.lead_steps) as early,
    max(abs(b.band_mean)) filter (b.from_marker = 0) as at_marker,
    first(b.step order by b.band_mean desc, b.step) as peak_step
  from trajectory_bands as b
  cross join limits as l
  group by b.run_id, b.subject, b.first_layer, b.last_layer
),
final as (
  select
    s.run_id,
    s.subject,
    s.origin,
    coalesce(m.early / nullif(m.at_marker, 0) is not null, false) as applicable,
    m.first_layer,
    m.last_layer,
    m.early,
    m.at_marker,
    m.early / nullif(m.at_marker, 0) as ratio,
    m.early / nullif(m.at_marker, 0) > l.ratio as reframe,
    m.peak_step
  from readouts as s
  left join measured as m using (run_id, subject)
  cross join limits as l
)
select * from final
