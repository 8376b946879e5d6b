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
--   n_clusters: the smaller number of questions with such a generation
--   clustered_sem: standard error of band_mean with generations of one question going together, whichever kind they are (CR2; NULL for one question)
--   clustered_df: its degrees of freedom (Bell and McCaffrey 2002)
--   band_low: lower end of the 95% interval of band_mean, this step alone
--   band_high: upper end
with windows as (
  select * from gate_windows
  qualify row_number() over (partition by run_id, subject, origin order by n_layers desc, first_layer) = 1
),
limits as (
  select max(value) filter (name = 'trajectory_end_offset') as end_offset from thresholds
),
errors as (
  select
    run_id,
    subject,
    step,
    case when bool_and(question_id is not null) then least(count(*) filter (n_positive > 0), count(*) filter (n_negative > 0)) end as n_clusters,
    case when count(residual) = count(*) and n_clusters > 1 then sqrt(sum(residual ** 2)) end as clustered_sem,
    case when n_clusters > 1 then contrast_df(positive_share, n_positive, negative_share, n_negative) end as clustered_df
  from trajectory_band_questions
  group by run_id, subject, step
),
bounded as (
  select *, t_half_width(clustered_sem, clustered_df) as half_width from errors
),
bands as (
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
),
final as (
  select
    b.*,
    e.n_clusters,
    e.clustered_sem,
    e.clustered_df,
    b.band_mean - e.half_width as band_low,
    b.band_mean + e.half_width as band_high
  from bands as b
  left join bounded as e using (run_id, subject, step)
)
select * from final
