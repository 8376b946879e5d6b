-- diff_of_diffs: does training move attention to the system prompt at the marker? Trained minus base on identical tokens, per layer
-- grain: trained_run, base_run, layer
-- outcomes: adjusted_missing
-- source: issue 224, README of the published files (difference of differences); paired by example, clustered by question (CR2; Bell and McCaffrey 2002) and adjusted for
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
--   clustered_sem: standard error with generations of one question going together (CR2)
--   clustered_t: diff_of_diffs over clustered_sem
--   clustered_low: lower end of its 95% interval, Student t with clustered_df degrees of freedom
--   clustered_high: upper end
--   clustered_p: two-sided, Student t with clustered_df degrees of freedom; not adjusted for the number of layers
--   clustered_df: degrees of freedom of clustered_t (Bell and McCaffrey): n_clusters - 1 where questions are equally large, fewer where not
--   n_effective_clusters: Kish's effective number of questions, (sum of sizes)^2 / sum of squared sizes: so many equally large ones weigh as much
--   question_skewness: sample skewness of the questions' means (NULL with fewer than three, or none that differ)
--   is_skewed: question_skewness is at least 1 and beyond twice its standard error under normality: the interval is too short on one side
--   margin: differences within plus and minus this count as none (thresholds: diff_of_diffs_margin)
--   equivalence_p: p of two one-sided t tests, clustered by question, that the difference lies within the margin (Schuirmann 1987); "in no layer" needs it in each
--   movement: equivalent (equivalence_p below 0.05: shown to lie within the margin), else moved (adjusted_p below 0.05, without one clustered_p times layers),
--     else cannot tell
--   flip_p: two-sided, share of the sign flips of questions whose |t|, by CR1, reaches that of the layer; not adjusted for the number of layers;
--     the null is that trained and base are exchangeable within a question, not that means are equal
--   adjusted_p: the same with the largest |t| over layers of each flip: adjusted for all layers (NULL with adjusted_missing)
--   bootstrap_t_adjusted_p: adjusted for all layers as well, of a mean of 0 whatever the shape of the differences: bootstrap-t over questions (Hall 1988)
--   adjusted_missing: why there is no adjusted_p: questions unknown, one question, no variation, not computed or outdated (NULL where there is one)
--   method: how adjusted_p was made
with tests as (
  select t.*, s.is_current
  from flip_tests as t
  join analysis_standing as s using (run_id)
  qualify row_number() over (partition by t.trained_run, t.base_run, t.layer order by s.place) = 1
),
limits as (
  select (max(value) filter (name = 'diff_of_diffs_margin'))::double as margin from thresholds
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
  select *, sum(total) over layers / sum(n) over layers as mean, n / sum(n) over layers as share
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
    cr2_squares(n, total, mean, share) as cluster_squares,
    cr2_df(share) as df,
    effective_clusters(share) as n_effective,
    cluster_skewness(n, total, mean) as question_skewness,
    min(lowest) as lowest,
    max(highest) as highest
  from centred
  group by trained_run, base_run, trained_subject, base_subject, origin, layer
),
errors as (
  select
    *,
    pooled_sd(n, squares) / sqrt(n) as sem,
    cr2_sem(n, n_clusters, cluster_squares) as clustered_sem,
    case when n_clusters > 1 then df end as clustered_df,
    case when n_clusters > 0 then n_effective end as n_effective_clusters
  from sums
),
ratios as (
  select
    *,
    t_ratio(diff_of_diffs, sem, lowest, highest) as t,
    t_ratio(diff_of_diffs, clustered_sem, lowest, highest) as clustered_t,
    t_half_width(clustered_sem, clustered_df) as half_width
  from errors
),
matched as (
  select
    r.*,
    t.run_id is not null as is_computed,
    t.is_current and t.n = r.n and t.n_clusters = r.n_clusters as is_valid,
    t.p as flip_p,
    t.adjusted_p,
    t.bootstrap_t_adjusted_p,
    t.method,
    t.resamples,
    t.seed,
    case when t.is_current and t.n = r.n and t.n_clusters = r.n_clusters then t.adjusted_p end as valid_p,
    student_t_p(r.clustered_t, r.clustered_df) as clustered_p,
    count(*) over (partition by r.trained_run, r.base_run) as n_layers,
    l.margin,
    equivalence_p(r.diff_of_diffs, r.clustered_sem, r.clustered_df, l.margin) as equivalence_p
  from ratios as r
  cross join limits as l
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
    clustered_p,
    clustered_df,
    n_effective_clusters,
    question_skewness,
    is_skewed(question_skewness, n_clusters) as is_skewed,
    margin,
    equivalence_p,
    movement_of(equivalence_p < 0.05, coalesce(valid_p, clustered_p * n_layers) < 0.05) as movement,
    case when is_valid then flip_p end as flip_p,
    valid_p as adjusted_p,
    case when valid_p is not null then bootstrap_t_adjusted_p end as bootstrap_t_adjusted_p,
    why_missing(n_clusters, is_computed, is_valid, matched.adjusted_p is not null) as adjusted_missing,
    case when is_valid then method end as method,
    case when is_valid then resamples end as resamples,
    case when is_valid then seed end as seed
  from matched
)
select * from final
