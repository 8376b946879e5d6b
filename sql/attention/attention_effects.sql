-- attention_effects: is attention to the system prompt at the marker other than at a control? Mean over examples with paired, clustered and sign tests
-- grain: run_id, subject, control, layer
-- source: own; unit of replication is the question: cluster-robust standard error CR2, t with Bell and McCaffrey's degrees of freedom (2002)
-- columns:
--   control: control stratum: C1, C2, C3, C4
--   origin: extracted or published
--   n: examples with a delta
--   n_clusters: questions among them (NULL where the published rows are not joined to their positives)
--   n_distinct: distinct values of delta among them; fewer than n where inputs repeat
--   mean_delta: mean over examples of marker minus control, content of the system block
--   mean_delta_user: the same mean for content of the user turn (NULL in published rows)
--   mean_delta_assistant: the same mean for content of the answer (NULL in published rows)
--   sem: sample standard deviation over sqrt(n)
--   t: mean_delta over sem (NULL where delta does not vary)
--   p: two-sided, Student t with n - 1 degrees of freedom, examples taken as independent
--   clustered_sem: standard error with examples of one question going together (CR2)
--   clustered_t: mean_delta over clustered_sem
--   clustered_p: two-sided, Student t with clustered_df degrees of freedom
--   clustered_df: degrees of freedom of clustered_t (Bell and McCaffrey): n_clusters - 1 where questions are equally large, fewer where not
--   n_effective_clusters: Kish's effective number of questions, (sum of sizes)^2 / sum of squared sizes: so many equally large ones weigh as much
--   question_skewness: sample skewness of the questions' means (NULL with fewer than three, or none that differ)
--   is_skewed: question_skewness is at least 1 and beyond twice its standard error under normality: the interval is too short on one side
--   n_positive: examples with delta above 0
--   n_nonzero: examples with delta other than 0
--   direction: n_positive over n
--   sign_test_p: exact two-sided binomial p of n_positive of n_nonzero
--   adjusted_p: two-sided, adjusted for all layers of the control: sign flips of questions, max-T; null: marker and control exchangeable within a question (NULL: not
--     computed, questions unknown, one question or no variation). What a layer that was picked is told by
--   bootstrap_t_adjusted_p: adjusted for all layers as well, of a mean of 0 whatever the shape of the differences (bootstrap-t over questions)
with questions as (
  select
    run_id,
    subject,
    origin,
    control,
    layer,
    question_id,
    count(*) as n,
    sum(delta) as total,
    var_pop(delta) * count(*) as squares,
    sum(delta_user) as total_user,
    sum(delta_assistant) as total_assistant,
    min(delta) as lowest,
    max(delta) as highest,
    list(distinct delta) as values_found,
    count(*) filter (delta > 0) as n_positive,
    count(*) filter (delta <> 0) as n_nonzero
  from attention_delta
  group by run_id, subject, origin, control, layer, question_id
),
centred as (
  select *, sum(total) over layers / sum(n) over layers as mean_delta, n / sum(n) over layers as share
  from questions
  window layers as (partition by run_id, subject, origin, control, layer)
),
sums as (
  select
    run_id,
    subject,
    origin,
    control,
    layer,
    sum(n)::bigint as n,
    n_known_clusters(question_id) as n_clusters,
    n_distinct_among(values_found) as n_distinct,
    any_value(mean_delta) as mean_delta,
    sum(total_user) / sum(n) as mean_delta_user,
    sum(total_assistant) / sum(n) as mean_delta_assistant,
    total_squares(n, total, squares, mean_delta) as squares,
    cr2_squares(n, total, mean_delta, share) as cluster_squares,
    cr2_df(share) as df,
    effective_clusters(share) as n_effective,
    cluster_skewness(n, total, mean_delta) as question_skewness,
    min(lowest) as lowest,
    max(highest) as highest,
    sum(n_positive)::bigint as n_positive,
    sum(n_nonzero)::bigint as n_nonzero
  from centred
  group by run_id, subject, origin, control, layer
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
  select *, t_ratio(mean_delta, sem, lowest, highest) as t, t_ratio(mean_delta, clustered_sem, lowest, highest) as clustered_t from errors
),
tested as (
  select first_run as run_id, subject, stratum as control, layer, n, n_clusters, adjusted_p, bootstrap_t_adjusted_p from family_p where figure = 'attention_effects'
),
final as (
  select
    r.run_id,
    r.subject,
    r.origin,
    r.control,
    r.layer,
    r.n,
    r.n_clusters,
    n_distinct,
    mean_delta,
    mean_delta_user,
    mean_delta_assistant,
    sem,
    r.t,
    student_t_p(r.t, n - 1) as p,
    clustered_sem,
    clustered_t,
    student_t_p(clustered_t, clustered_df) as clustered_p,
    clustered_df,
    n_effective_clusters,
    question_skewness,
    is_skewed(question_skewness, n_clusters) as is_skewed,
    n_positive,
    n_nonzero,
    n_positive / n as direction,
    sign_test_p(n_positive, n_nonzero) as sign_test_p,
    t.adjusted_p,
    t.bootstrap_t_adjusted_p
  from ratios as r
  left join tested as t using (run_id, subject, control, layer, n, n_clusters)
)
select * from final
