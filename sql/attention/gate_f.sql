-- gate_f: was attention to the system prompt raised well before the marker already? Then the effect belongs to the answer, not to the marker
-- grain: run_id, subject
-- source: issue 224, README of the published files (gate F); interval as own addition: Fieller (1954) with errors clustered by question (CR2, Student t with Bell and
--   McCaffrey's degrees of freedom at the marker)
-- columns:
--   origin: extracted or published
--   applicable: there is a window and trajectories of both kinds of generation were read
--   first_layer: first layer of the longest window (NULL where there is none)
--   last_layer: its last layer
--   early: absolute band mean five steps before the marker
--   at_marker: absolute band mean at the marker
--   ratio: early over at_marker
--   reframe: ratio above 0.5
--   n_clusters: the smaller number of questions with a generation of each kind
--   ratio_low: lower end of the 95% interval of ratio (NULL where published)
--   ratio_high: upper end (NULL with ratio_missing)
--   ratio_missing: why there is no interval: not two questions, or at_marker is not told from zero, so that no ratio is bounded (NULL where there is one)
--   reframe_sure: all of the interval lies above 0.5 (true) or none of it (false); NULL where it cannot be told
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
questions as (
  select * from trajectory_band_questions
),
errors as (
  select
    e.run_id,
    e.subject,
    case
      when bool_and(e.question_id is not null) then least(count(*) filter (m.n_positive > 0), count(*) filter (m.n_negative > 0))
    end as n_clusters,
    any_value(e.band_mean) as early,
    any_value(m.band_mean) as at_marker,
    sum(e.residual ** 2) as early_variance,
    sum(m.residual ** 2) as marker_variance,
    sum(e.residual * m.residual) as covariance,
    case when n_clusters > 1 then student_t_quantile(0.975, contrast_df(m.positive_share, m.n_positive, m.negative_share, m.n_negative)) end as quantile
  from questions as m
  join limits as l on true
  join questions as e on e.run_id = m.run_id and e.subject = m.subject and e.question_id = m.question_id and e.step = -l.lead_steps
  where m.step = 0
  group by e.run_id, e.subject
),
-- roots of (early - ratio at_marker)^2 = quantile^2 (variance of early - ratio at_marker)
fieller as (
  select
    run_id,
    subject,
    n_clusters,
    at_marker ** 2 - quantile ** 2 * marker_variance as bend,
    early * at_marker - quantile ** 2 * covariance as middle,
    early ** 2 - quantile ** 2 * early_variance as level,
    case when bend > 0 then (middle - sqrt(greatest(middle ** 2 - bend * level, 0))) / bend end as signed_low,
    case when bend > 0 then (middle + sqrt(greatest(middle ** 2 - bend * level, 0))) / bend end as signed_high
  from errors
),
bounded as (
  select
    run_id,
    subject,
    n_clusters,
    case when signed_low is not null then greatest(signed_low, -signed_high, 0) end as ratio_low,
    case when signed_low is not null then greatest(abs(signed_low), abs(signed_high)) end as ratio_high,
    case when bend is null then 'not two questions' when signed_low is null then 'the difference at the marker is not told from zero' end as ratio_missing
  from fieller
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
    m.peak_step,
    b.n_clusters,
    b.ratio_low,
    b.ratio_high,
    b.ratio_missing,
    case when b.ratio_low > l.ratio then true when b.ratio_high <= l.ratio then false end as reframe_sure
  from readouts as s
  left join measured as m using (run_id, subject)
  left join bounded as b using (run_id, subject)
  cross join limits as l
)
select * from final
