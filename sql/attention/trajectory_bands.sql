-- trajectory_bands: the trajectory averaged over the layers of the subject's longest window of passing layers
-- grain: run_id, subject, step
-- source: issue 224, README of the published files (gate F); of windows of equal length the first
-- columns:
--   origin: extracted or published
--   step: steps before the last position read, -9 to 0
--   from_marker: the same step counted from the marker
--   first_layer: first layer of the window
--   last_layer: its last layer
--   band_mean: mean over the window's layers of the difference, generations with the marker minus those without
with windows as (
  select * from gate_windows
  qualify row_number() over (partition by run_id, subject, origin order by n_layers desc, first_layer) = 1
),
limits as (
  select max(value) filter (name = 'trajectory_end_offset') as end_offset from thresholds
),
final as (
  select
    w.run_id,
    w.subject,
    w.origin,
    s.step,
    (s.step + case s.aligned_on when 'marker' then 0 else any_value(l.end_offset) end)::integer as from_marker,
    w.first_layer,
    w.last_layer,
    avg(s.difference) as band_mean
  from windows as w
  join trajectory as s
    on s.subject = w.subject
    and s.origin = w.origin
    and (s.run_id = w.run_id or w.origin = 'published')
    and s.layer between w.first_layer and w.last_layer
  cross join limits as l
  group by w.run_id, w.subject, w.origin, s.step, s.aligned_on, w.first_layer, w.last_layer
  having count(s.difference) > 0
)
select * from final
