-- diff_of_diffs: does training move attention to the system prompt at the marker? Trained minus base on identical tokens, per layer
-- grain: trained_run, base_run, layer
-- outcomes: adjusted_missing
-- source: issue 224, README of the published files (difference of differences); paired by example, clustered by question and adjusted for
--   the number of layers (Westfall and Young 1993, max-T by sign flips of questions) as own addition
-- columns:
--   trained_run: run of the checkpoint that sampled the tokens
--   base_run: run of the checkpoint that was force-fed them
--   trained_subject: subject of trained_run
--   base_subject: subject of base_run
--   origin: extracted or published
--   n: generations read by both
--   n_clusters: questions among them (NULL where the published rows are not joined to their positives)
--   n_distinct: distinct values of the difference among them
--   trained_delta: mean of marker minus C1, trained checkpoint
--   base_delta: the same of the force-fed checkpoint
--   diff_of_diffs: trained_delta minus base_delta
--   sem: sample standard deviation of the paired differences over sqrt(n)
--   t: diff_of_diffs over sem (NULL where the differences do not vary)
--   p: two-sided, Student t with n - 1 degrees of freedom, generations taken as independent
--   clustered_sem: standard error with generations of one question going together
--   clustered_t: diff_of_diffs over clustered_sem
--   clustered_low: lower end of its 95% interval, Student t with n_clusters - 1 degrees of freedom
--   clustered_high: upper end
--   clustered_p: two-sided, Student t with n_clusters - 1 degrees of freedom; not adjusted for the number of layers
--   flip_p: two-sided, share of the sign flips of questions whose |clustered_t| reaches that of the layer; not adjusted for the number of layers
--   adjusted_p: the same with the largest |clustered_t| over layers of each flip: adjusted for all layers (NULL with adjusted_missing)
--   adjusted_missing: why there is no adjusted_p: questions unknown, one question, no variation, not computed or outdated (NULL where there is one)
--   method: how adjusted_p was made
with tests as (
  select t.*, s.is_current
  from flip_tests as t
  join analysis_standing as s using (run_id)
  qualify row_number() over (partition by t.trained_run, t.base_run, t.layer order by s.place) = 1
),
questions as (
  select
    trained_run,
    base_run,
    trained_subject,
    base_subject,
    origin,
    layer,
    question_id,
    count(*) as n,
    list(distinct difference) as values_found,
    sum(trained_delta) as trained_total,
    sum(base_delta) as base_total,
    sum(difference) as total,
    var_pop(difference) * count(*) as squares,
    min(difference) as lowest,
    max(difference) as highest
  from paired_deltas
  group by trained_run, base_run, trained_subject, base_subject, origin, layer, question_id
),
centred as (
  select *, sum(total) over layers / sum(n) over layers as mean
  from questions
  window layers as (partition by trained_run, base_run, trained_subject, base_subject, origin, layer)
),
sums as (
  select
    trained_run,
    base_run,
    trained_subject,
    base_subject,
    origin,
    layer,
    sum(n)::bigint as n,
    n_known_clusters(question_id) as n_clusters,
    n_distinct_among(values_found) as n_distinct,
    sum(trained_total) / sum(n) as trained_delta,
    sum(base_total) / sum(n) as base_delta,
    any_value(mean) as diff_of_diffs,
    total_squares(n, total, squares, mean) as squares,
    cluster_squares(n, total, mean) as cluster_squares,
    min(lowest) as lowest,
    max(highest) as highest
  from centred
  group by trained_run, base_run, trained_subject, base_subject, origin, layer
),
errors as (
  select *, pooled_sd(n, squares) / sqrt(n) as sem, clustered_sem(n, n_clusters, cluster_squares) as clustered_sem from sums
),
ratios as (
  select
    *,
    t_ratio(diff_of_diffs, sem, lowest, highest) as t,
    t_ratio(diff_of_diffs, clustered_sem, lowest, highest) as clustered_t,
    half_width(clustered_sem, n_clusters) as half_width
  from errors
),
matched as (
  select
    r.*,
    t.run_id is not null as is_computed,
    t.is_current and t.n = r.n and t.n_clusters = r.n_clusters as is_valid,
    t.p as flip_p,
    t.adjusted_p,
    t.method,
    t.resamples,
    t.seed
  from ratios as r
  left join tests as t using (trained_run, base_run, layer)
),
final as (
  select
    trained_run,
    base_run,
    trained_subject,
    base_subject,
    origin,
    layer,
    n,
    n_clusters,
    n_distinct,
    trained_delta,
    base_delta,
    diff_of_diffs,
    sem,
    t,
    student_t_p(t, n - 1) as p,
    clustered_sem,
    clustered_t,
    diff_of_diffs - half_width as clustered_low,
    diff_of_diffs + half_width as clustered_high,
    student_t_p(clustered_t, n_clusters - 1) as clustered_p,
    case when is_valid then flip_p end as flip_p,
    case when is_valid then adjusted_p end as adjusted_p,
    why_missing(n_clusters, is_computed, is_valid, adjusted_p is not null) as adjusted_missing,
    case when is_valid then method end as method,
    case when is_valid then resamples end as resamples,
    case when is_valid then seed end as seed
  from matched
)
select * from final
