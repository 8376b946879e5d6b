-- head_worths: what every head is worth to the target by each measure, mean over prompts, by phrasing
-- grain: attribution_run, ablation_run, stratum, prompt_form, layer, head, measure
-- source: own; after the echo write-up
-- columns:
--   attribution_run: run of the direct attributions (NULL: none)
--   ablation_run: run of the ablations (NULL: none)
--   prompt_form: phrasing of the task, none where there is one only, or all
--   measure: direct, direct_margin; ablations zero, mean, resample, scale with its factor, each also with _margin and _logit behind it; sieve (the estimate of
--     zero_logit from gradients)
--   n: prompts
--   n_clusters: questions among them
--   clustered_df: degrees of freedom of the intervals (Bell and McCaffrey 2002): n_clusters - 1 where questions are equally large, fewer where not
--   n_effective_clusters: Kish's effective number of questions, (sum of sizes)^2 / sum of squared sizes: so many equally large ones weigh as much
--   is_skewed: the questions' means are so skewed that an interval is too short on one side (skewness at least 1 and beyond twice its standard error)
--   worth: mean over prompts of what the head is worth there, as in head_examples: logits of direct, _logit and sieve, logits over the runner-up of _margin,
--     nats of log-probability of an ablation without either
--   worth_low: lower end of its 95% interval, Student t, clustered by question (CR2), this head alone
--   worth_high: upper end
--   adjusted_p: two-sided p of worth adjusted for all heads of the model: sign flips of questions, max-T (NULL: not computed for the measure, or no variation)
--   bootstrap_t_adjusted_p: the same of a mean of 0 whatever the shape (bootstrap-t over questions)
--   shrunken: worth drawn towards the mean of all heads by what noise makes of the largest of many (empirical Bayes): an estimate for a head that was picked by rank
--   n_layer_top3: prompts at which the head is among the first three of its layer
--   n_top3: prompts at which it is among the first three of the model
--   layer_rank: place of worth among the heads of its layer, the largest first
--   rank: place among all heads of the model
with found as (
  select * from head_examples
),
forms as (
  select * from found
  union all
  select * replace ('all' as prompt_form) from found
),
clusters as (
  select
    attribution_run,
    ablation_run,
    subject,
    checkpoint,
    stratum,
    prompt_form,
    layer,
    head,
    measure,
    question_id,
    count(*) as n,
    sum(worth) as total,
    count(*) filter (layer_rank <= 3) as n_layer_top3,
    count(*) filter (rank <= 3) as n_top3
  from forms
  group by attribution_run, ablation_run, subject, checkpoint, stratum, prompt_form, layer, head, measure, question_id
),
centred as (
  select *, sum(total) over heads / sum(n) over heads as average, n / sum(n) over heads as share
  from clusters
  window heads as (partition by attribution_run, ablation_run, subject, stratum, prompt_form, measure, layer, head)
),
sums as (
  select
    attribution_run,
    ablation_run,
    subject,
    checkpoint,
    stratum,
    prompt_form,
    layer,
    head,
    measure,
    sum(n)::bigint as n,
    count(*) as n_clusters,
    any_value(average) as worth,
    cr2_sem(sum(n), count(*), cr2_squares(n, total, average, share)) as sem,
    case when count(*) > 1 then cr2_df(share) end as clustered_df,
    effective_clusters(share) as n_effective_clusters,
    is_skewed(cluster_skewness(n, total, average), count(*)) as is_skewed,
    sum(n_layer_top3)::bigint as n_layer_top3,
    sum(n_top3)::bigint as n_top3
  from centred
  group by attribution_run, ablation_run, subject, checkpoint, stratum, prompt_form, layer, head, measure
),
quantiles as (
  select clustered_df, student_t_quantile(0.975, clustered_df) as quantile from (select distinct clustered_df from sums)
),
families as (
  select *, row(attribution_run, ablation_run, subject, stratum, prompt_form, measure) as family from sums
),
centred_families as (
  select * exclude (family), family_centre(worth, family) as centre, family_spread(worth, sem, family) as spread from families
),
tested as (
  select * from family_p where figure = 'head_worths'
),
final as (
  select
    s.* exclude (sem, centre, spread),
    s.worth - nullif(s.sem, 0) * q.quantile as worth_low,
    s.worth + nullif(s.sem, 0) * q.quantile as worth_high,
    t.adjusted_p,
    t.bootstrap_t_adjusted_p,
    shrunken(s.worth, s.sem, s.centre, s.spread) as shrunken,
    rank() over (
      partition by s.attribution_run, s.ablation_run, s.subject, s.stratum, s.prompt_form, s.measure, s.layer order by s.worth desc
    ) as layer_rank,
    rank() over (partition by s.attribution_run, s.ablation_run, s.subject, s.stratum, s.prompt_form, s.measure order by s.worth desc) as rank
  from centred_families as s
  join quantiles as q on q.clustered_df is not distinct from s.clustered_df
  left join tested as t
    on t.first_run is not distinct from s.attribution_run
    and t.second_run is not distinct from s.ablation_run
    and t.subject = s.subject
    and t.stratum = s.stratum
    and t.prompt_form = s.prompt_form
    and t.measure = s.measure
    and t.layer = s.layer
    and t.head = s.head
    and t.n = s.n
    and t.n_clusters = s.n_clusters
)
select * from final
