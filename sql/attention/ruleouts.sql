-- ruleouts: does the effect survive other controls (C2 late, C3 rare token, C4 end of an answer without the marker)? As published and as it was meant
-- grain: run_id, subject, control, layer
-- source: issue 224, README of the published files (rule-outs); the published form averages delta_c1 - delta_ck, in which the marker cancels;
--   intervals over questions as own addition
-- columns:
--   control: control stratum: C2, C3, C4
--   origin: extracted or published
--   n: examples with a delta against this control
--   n_clusters: questions among them
--   n_distinct: distinct values of delta among them
--   mean_delta: mean over examples of marker minus this control
--   sem_delta: sample standard deviation over sqrt(n)
--   passed: mean_delta - sem_delta above 0: the test that was meant
--   published_mean: mean over examples of delta_c1 - delta_ck, which is this control minus C1
--   published_sem: its standard error
--   sem_method: of published_sem: bootstrap where a current one is in the lake, else analytic
--   passed_published: published_mean - published_sem above 0; says nothing of the marker
--   t: mean_delta over sem_delta (NULL where delta does not vary)
--   p: two-sided, Student t with n - 1 degrees of freedom, examples taken as independent
--   clustered_sem: standard error with examples of one question going together (CR2)
--   clustered_t: mean_delta over clustered_sem
--   clustered_p: two-sided, Student t with clustered_df degrees of freedom
--   clustered_df: degrees of freedom of clustered_t (Bell and McCaffrey)
--   comparison: what estimate compares: paired by generation (C2, C3), or two samples of generations (C4, whose positions lie in other generations)
--   n_compared: generations with the marker in that comparison; n in C2 and C3
--   n_questions: the fewer questions of its two sides; n_clusters in C2 and C3
--   n_controls: generations that the control's positions come from
--   estimate: marker minus this control by that comparison; mean_delta in C2 and C3
--   estimate_sem: its standard error with generations of one question going together (CR2)
--   estimate_df: degrees of freedom of its t (Bell and McCaffrey)
--   n_effective_clusters: Kish's effective number of questions; of its two sides the smaller
--   low: lower end of its 95% interval, Student t with estimate_df degrees of freedom
--   high: upper end
--   estimate_p: two-sided, Student t with estimate_df degrees of freedom
--   estimate_adjusted_p: the same adjusted for all layers, max-T over questions: sign flips, or bootstrap-t of two samples (C4); what a layer that was picked is told by
--   bootstrap_t_adjusted_p: the same by bootstrap-t for every control, which asks for no symmetry
--   separated: low above 0: attention at the marker is higher than at this control
--   direction: share of examples with delta above 0
--   sign_test_p: exact two-sided binomial p of the examples with delta above 0 among those other than 0
with effects as (
  select * from attention_effects where control <> 'C1'
),
deltas as (
  select run_id, subject, example_id, sample_ix, row_ix, control, layer, delta from attention_delta
),
errors as (
  select input_run as run_id, subject, control, layer, sem from bootstrap_errors where quantity = 'ruleout' and region = 'system'
),
against_c1 as (
  select *, max(delta) filter (control = 'C1') over (partition by run_id, subject, example_id, sample_ix, row_ix, layer) as delta_c1
  from deltas
),
as_published as (
  select
    run_id,
    subject,
    control,
    layer,
    avg(delta_c1 - delta) as published_mean,
    stddev_samp(delta_c1 - delta) / sqrt(count(delta_c1 - delta)) as sem
  from against_c1
  where control <> 'C1'
  group by run_id, subject, control, layer
),
ends as (
  select
    run_id,
    subject,
    'C4' as control,
    layer,
    n as n_markers,
    n_clusters as n_questions,
    n_effective_clusters,
    n_ends,
    difference,
    clustered_sem,
    clustered_df,
    clustered_p,
    adjusted_p,
    low,
    high
  from end_of_answer_contrast
),
compared as (
  select
    e.*,
    case when e.control = 'C4' then 'two samples' else 'paired by generation' end as comparison,
    case when e.control = 'C4' then s.n_markers else e.n end as n_compared,
    case when e.control = 'C4' then s.n_questions else e.n_clusters end as n_questions,
    case when e.control = 'C4' then s.n_ends else e.n end as n_controls,
    case when e.control = 'C4' then s.difference else e.mean_delta end as estimate,
    case when e.control = 'C4' then s.clustered_sem else e.clustered_sem end as estimate_sem,
    case when e.control = 'C4' then s.clustered_df else e.clustered_df end as estimate_df,
    case when e.control = 'C4' then s.n_effective_clusters else e.n_effective_clusters end as n_effective_compared,
    s.low as low_of_ends,
    s.high as high_of_ends,
    t_half_width(e.clustered_sem, e.clustered_df) as half_width,
    case when e.control = 'C4' then s.clustered_p else e.clustered_p end as estimate_p,
    case when e.control = 'C4' then s.adjusted_p else e.adjusted_p end as estimate_adjusted_p,
    case when e.control = 'C4' then s.adjusted_p else e.bootstrap_t_adjusted_p end as estimate_bootstrap_p
  from effects as e
  left join ends as s using (run_id, subject, control, layer)
),
bounded as (
  select
    *,
    case when control = 'C4' then low_of_ends when clustered_t is not null then mean_delta - half_width end as low,
    case when control = 'C4' then high_of_ends when clustered_t is not null then mean_delta + half_width end as high
  from compared
),
final as (
  select
    e.run_id,
    e.subject,
    e.origin,
    e.control,
    e.layer,
    e.n,
    e.n_clusters,
    e.n_distinct,
    e.mean_delta,
    e.sem as sem_delta,
    e.mean_delta - e.sem > 0 as passed,
    a.published_mean,
    coalesce(b.sem, a.sem) as published_sem,
    case when b.sem is null then 'analytic' else 'bootstrap' end as sem_method,
    a.published_mean - coalesce(b.sem, a.sem) > 0 as passed_published,
    e.t,
    e.p,
    e.clustered_sem,
    e.clustered_t,
    e.clustered_p,
    e.clustered_df,
    e.comparison,
    e.n_compared,
    e.n_questions,
    e.n_controls,
    e.estimate,
    e.estimate_sem,
    e.estimate_df,
    e.n_effective_compared as n_effective_clusters,
    e.low,
    e.high,
    e.estimate_p,
    e.estimate_adjusted_p,
    e.estimate_bootstrap_p as bootstrap_t_adjusted_p,
    e.low > 0 as separated,
    e.direction,
    e.sign_test_p
  from bounded as e
  left join as_published as a using (run_id, subject, control, layer)
  left join errors as b using (run_id, subject, control, layer)
)
select * from final
