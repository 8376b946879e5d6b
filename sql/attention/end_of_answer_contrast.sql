-- end_of_answer_contrast: attention to the system prompt at the marker against at the end of answers without it (C4), as two samples of generations
-- grain: run_id, subject, layer
-- source: own; the samples are different generations of the same questions, so both enter one cluster-robust variance with the question as cluster;
--   each sample is corrected for its own number of questions, and the smaller number decides the degrees of freedom
-- columns:
--   n: generations with the marker
--   n_ends: generations without it
--   n_questions: questions with a generation of the first kind
--   n_end_questions: questions with a generation of the second kind
--   n_clusters: the smaller number of questions
--   marker_mean: mean fraction on content of the system block at the marker
--   end_mean: mean of the same fraction at the end of answers without it
--   difference: marker_mean minus end_mean
--   clustered_sem: its standard error with generations of one question going together, whichever sample they are in (NULL for one question)
--   clustered_t: difference over clustered_sem (NULL where neither sample varies)
--   clustered_p: two-sided, Student t with n_clusters - 1 degrees of freedom
--   adjusted_p: two-sided, adjusted for all layers: bootstrap-t over questions, max-T (NULL: not computed, questions unknown, or fewer than two of a kind)
--   low: lower end of the 95% interval of the difference, Student t with n_clusters - 1 degrees of freedom
--   high: upper end
with questions as (
  select * from end_of_answer_questions
),
centred as (
  select
    *,
    sum(n_markers) over layers as n_of_markers,
    sum(n_ends) over layers as n_of_ends,
    count(*) filter (n_markers > 0) over layers as n_questions,
    count(*) filter (n_ends > 0) over layers as n_end_questions,
    sum(marker_total) over layers / nullif(sum(n_markers) over layers, 0) as marker_mean,
    sum(end_total) over layers / nullif(sum(n_ends) over layers, 0) as end_mean
  from questions
  window layers as (partition by run_id, subject, layer)
),
residuals as (
  select
    *,
    (marker_total - n_markers * marker_mean) / n_of_markers * sqrt(n_questions / nullif(n_questions - 1, 0)) as marker_residual,
    (end_total - n_ends * end_mean) / n_of_ends * sqrt(n_end_questions / nullif(n_end_questions - 1, 0)) as end_residual
  from centred
),
sums as (
  select
    run_id,
    subject,
    layer,
    sum(n_markers)::bigint as n,
    sum(n_ends)::bigint as n_ends,
    any_value(n_questions) as n_questions,
    any_value(n_end_questions) as n_end_questions,
    case when bool_and(question_id is not null) then least(any_value(n_questions), any_value(n_end_questions)) end as n_clusters,
    any_value(marker_mean) as marker_mean,
    any_value(end_mean) as end_mean,
    sqrt(sum((marker_residual - end_residual) ** 2)) as clustered_sem,
    max(marker_highest) - min(marker_lowest) + max(end_highest) - min(end_lowest) as span
  from residuals
  group by run_id, subject, layer
  having sum(n_markers) > 0 and sum(n_ends) > 0
),
ratios as (
  select
    *,
    marker_mean - end_mean as difference,
    t_ratio(difference, clustered_sem, 0, span) as clustered_t,
    half_width(clustered_sem, n_clusters) as half_width
  from sums
),
tested as (
  select first_run as run_id, subject, layer, n, n_clusters, adjusted_p from family_p where figure = 'end_of_answer_contrast'
),
final as (
  select
    run_id,
    subject,
    layer,
    n,
    n_ends,
    n_questions,
    n_end_questions,
    n_clusters,
    marker_mean,
    end_mean,
    difference,
    clustered_sem,
    clustered_t,
    student_t_p(clustered_t, n_clusters - 1) as clustered_p,
    adjusted_p,
    case when clustered_t is not null then difference - half_width end as low,
    case when clustered_t is not null then difference + half_width end as high
  from ratios
  left join tested using (run_id, subject, layer, n, n_clusters)
)
select * from final
