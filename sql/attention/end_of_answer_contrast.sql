-- end_of_answer_contrast: attention to the system prompt at the marker against at the end of answers without it (C4), as two samples of generations
-- grain: run_id, subject, layer
-- source: own; the samples are different generations of the same questions, so both enter one cluster-robust variance with the question as cluster;
--   CR2 of the difference of two means, Bell and McCaffrey's degrees of freedom (2002) under generations of one variance
-- columns:
--   n: generations with the marker
--   n_ends: generations without it
--   n_questions: questions with a generation of the first kind
--   n_end_questions: questions with a generation of the second kind
--   n_clusters: the smaller number of questions
--   marker_mean: mean fraction on content of the system block at the marker
--   end_mean: mean of the same fraction at the end of answers without it
--   difference: marker_mean minus end_mean
--   clustered_sem: its standard error with generations of one question going together, whichever sample they are in (CR2; NULL for one question)
--   clustered_df: degrees of freedom of clustered_t
--   n_effective_clusters: Kish's effective number of questions, of the two samples the smaller
--   clustered_t: difference over clustered_sem (NULL where neither sample varies)
--   clustered_p: two-sided, Student t with clustered_df degrees of freedom
--   adjusted_p: two-sided, adjusted for all layers: bootstrap-t over questions, max-T (NULL: not computed, questions unknown, or fewer than two of a kind)
--   low: lower end of the 95% interval of the difference, Student t with clustered_df degrees of freedom
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
    n_markers / n_of_markers as marker_share,
    n_ends / n_of_ends as end_share,
    cr2_residual(n_markers, marker_total, marker_mean, marker_share, n_of_markers) as marker_residual,
    cr2_residual(n_ends, end_total, end_mean, end_share, n_of_ends) as end_residual
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
    case when count(marker_residual - end_residual) = count(*) then sqrt(sum((marker_residual - end_residual) ** 2)) end as clustered_sem,
    contrast_df(marker_share, n_markers, end_share, n_ends) as df,
    least(effective_clusters(marker_share), effective_clusters(end_share)) as n_effective,
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
    case when n_clusters > 1 then df end as clustered_df,
    case when n_clusters > 0 then n_effective end as n_effective_clusters,
    t_half_width(clustered_sem, clustered_df) as half_width
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
    clustered_df,
    n_effective_clusters,
    student_t_p(clustered_t, clustered_df) as clustered_p,
    adjusted_p,
    case when clustered_t is not null then difference - half_width end as low,
    case when clustered_t is not null then difference + half_width end as high
  from ratios
  left join tested using (run_id, subject, layer, n, n_clusters)
)
select * from final
