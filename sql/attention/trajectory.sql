-- trajectory: attention to the system prompt over the last ten steps, generations with the marker against those without, per layer
-- grain: run_id, subject, layer, step
-- source: issue 224, README of the published files (gate F); published rows are the difference of means as published; interval as own addition
-- columns:
--   origin: extracted or published
--   step: steps before the last position read, -9 to 0
--   aligned_on: what step 0 is: marker (extracted; end of the answer where there is none) or end of the answer (published, where the marker is step -2)
--   n_positive: generations with the marker (NULL where published)
--   n_negative: generations without it (NULL where published)
--   positive_mean: mean fraction on content of the system block, generations with the marker
--   negative_mean: the same without it (NULL where those steps were not read)
--   difference: positive_mean minus negative_mean
--   n_clusters: the smaller number of questions with such a generation
--   clustered_sem: standard error of difference with generations of one question going together, whichever kind they are (CR2; NULL for one question)
--   clustered_df: its degrees of freedom (Bell and McCaffrey 2002)
--   difference_low: lower end of the 95% interval of difference, this layer and step alone
--   difference_high: upper end
with questions as (
  select
    run_id,
    subject,
    layer,
    step,
    question_id,
    count(*) filter (positive) as n_positive,
    count(*) filter (not positive) as n_negative,
    coalesce(sum(system) filter (positive), 0) as positive_total,
    coalesce(sum(system) filter (not positive), 0) as negative_total
  from trajectory_steps
  group by run_id, subject, layer, step, question_id
),
centred as (
  select
    *,
    sum(n_positive) over places as n_of_positive,
    sum(n_negative) over places as n_of_negative,
    n_positive / nullif(n_of_positive, 0) as positive_share,
    n_negative / nullif(n_of_negative, 0) as negative_share,
    sum(positive_total) over places / nullif(n_of_positive, 0) as positive_mean,
    sum(negative_total) over places / nullif(n_of_negative, 0) as negative_mean
  from questions
  window places as (partition by run_id, subject, layer, step)
),
residuals as (
  select
    *,
    cr2_residual(n_positive, positive_total, positive_mean, positive_share, n_of_positive)
    - cr2_residual(n_negative, negative_total, negative_mean, negative_share, n_of_negative) as residual
  from centred
),
sums as (
  select
    run_id,
    subject,
    layer,
    step,
    sum(n_positive)::bigint as n_positive,
    sum(n_negative)::bigint as n_negative,
    any_value(positive_mean) as positive_mean,
    any_value(negative_mean) as negative_mean,
    case when bool_and(question_id is not null) then least(count(*) filter (n_positive > 0), count(*) filter (n_negative > 0)) end as n_clusters,
    case when count(residual) = count(*) then sqrt(sum(residual ** 2)) end as sem,
    contrast_df(positive_share, n_positive, negative_share, n_negative) as df
  from residuals
  group by run_id, subject, layer, step
),
extracted as (
  select
    *,
    positive_mean - negative_mean as difference,
    case when n_clusters > 1 then sem end as clustered_sem,
    case when n_clusters > 1 then df end as clustered_df,
    t_half_width(clustered_sem, clustered_df) as half_width
  from sums
),
published as (
  select run_id, subject, layer, step, value from published_values where statistic = 'gate_F_trajectory.diff_per_layer_per_delta'
),
final as (
  select
    run_id,
    subject,
    'extracted' as origin,
    layer,
    step,
    'marker' as aligned_on,
    n_positive,
    n_negative,
    positive_mean,
    negative_mean,
    difference,
    n_clusters,
    clustered_sem,
    clustered_df,
    difference - half_width as difference_low,
    difference + half_width as difference_high
  from extracted
  union all
  select run_id, subject, 'published', layer, step, 'end of the answer', null, null, null, null, value, null, null, null, null, null
  from published
)
select * from final
