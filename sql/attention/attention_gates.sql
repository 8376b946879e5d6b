-- attention_gates: gates A to D per layer as the study defined them, on content of the system block against C1, with the sound statistic beside them
-- grain: run_id, subject, layer
-- source: issue 224, README of the published files (gates); a subject that was read twice has one set of layers per run, never a mixture
-- columns:
--   origin: extracted or published
--   n: examples
--   n_clusters: questions among them
--   n_distinct: distinct values of delta among them
--   mean_delta: mean over examples of marker minus C1
--   sem_delta: standard error that gate B uses
--   sem_method: bootstrap where a current one is in the lake, else analytic
--   sem_analytic: sample standard deviation over sqrt(n)
--   direction: share of examples with delta above 0
--   mean_delta_user: mean of marker minus C1 for content of the user turn
--   mean_delta_assistant: mean of marker minus C1 for content of the answer
--   gate_a: direction at least 0.70
--   gate_b: mean plus or minus one sem_delta leaves out 0; two-sided, so that a negative effect passes
--   gate_b_analytic: the same with sem_analytic
--   gate_c: mean_delta above that of the user turn and above that of the answer; means only
--   gate_d: gate_a and gate_b and gate_c; no separate test
--   t: mean_delta over sem_analytic (NULL where delta does not vary)
--   p: two-sided, Student t with n - 1 degrees of freedom, examples taken as independent
--   clustered_sem: standard error with examples of one question going together (CR2)
--   clustered_t: mean_delta over clustered_sem
--   clustered_p: two-sided, Student t with clustered_df degrees of freedom
--   clustered_df: degrees of freedom of clustered_t (Bell and McCaffrey): n_clusters - 1 where questions are equally large, fewer where not
--   n_effective_clusters: Kish's effective number of questions, (sum of sizes)^2 / sum of squared sizes: so many equally large ones weigh as much
--   question_skewness: sample skewness of the questions' means (NULL with fewer than three, or none that differ)
--   is_skewed: question_skewness is at least 1 and beyond twice its standard error under normality: the interval is too short on one side
--   sign_test_p: exact two-sided binomial p of the examples with delta above 0 among those other than 0
--   adjusted_p: two-sided, adjusted for all layers: sign flips of questions, max-T, as in attention_effects
--   bootstrap_t_adjusted_p: the same without asking for symmetric differences
with effects as (
  select * from attention_effects where control = 'C1'
),
errors as (
  select input_run as run_id, subject, layer, sem from bootstrap_errors where quantity = 'delta' and region = 'system' and control = 'C1'
),
published_regions as (
  select
    subject,
    layer,
    'published' as origin,
    max(value) filter (region = 'user_B') as mean_delta_user,
    max(value) filter (region = 'asst_B') as mean_delta_assistant
  from published_values
  where statistic = 'region_means.delta_c1_mean'
  group by subject, layer
),
limits as (
  select max(value) filter (name = 'gate_direction') as direction from thresholds
),
gathered as (
  select
    e.*,
    coalesce(b.sem, e.sem) as sem_delta,
    case when b.sem is null then 'analytic' else 'bootstrap' end as sem_method,
    coalesce(e.mean_delta_user, r.mean_delta_user) as mean_user,
    coalesce(e.mean_delta_assistant, r.mean_delta_assistant) as mean_assistant,
    l.direction as limit_direction
  from effects as e
  left join errors as b using (run_id, subject, layer)
  left join published_regions as r using (subject, layer, origin)
  cross join limits as l
),
judged as (
  select
    *,
    direction >= limit_direction as gate_a,
    abs(mean_delta) - sem_delta > 0 as gate_b,
    abs(mean_delta) - sem > 0 as gate_b_analytic,
    mean_delta > mean_user and mean_delta > mean_assistant as gate_c
  from gathered
),
final as (
  select
    run_id,
    subject,
    origin,
    layer,
    n,
    n_clusters,
    n_distinct,
    mean_delta,
    sem_delta,
    sem_method,
    sem as sem_analytic,
    direction,
    mean_user as mean_delta_user,
    mean_assistant as mean_delta_assistant,
    gate_a,
    gate_b,
    gate_b_analytic,
    gate_c,
    gate_a and gate_b and gate_c as gate_d,
    t,
    p,
    clustered_sem,
    clustered_t,
    clustered_p,
    clustered_df,
    n_effective_clusters,
    question_skewness,
    is_skewed,
    sign_test_p,
    adjusted_p,
    bootstrap_t_adjusted_p
  from judged
)
select * from final
