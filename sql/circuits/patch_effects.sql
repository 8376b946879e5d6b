-- patch_effects: what activations of a donor, put in at one layer and site, do to the prediction: mean over examples, clustered by question
-- grain: run_id, stratum, prompt_form, donor, direction, site, layer, head
-- source: own; after activation patching (Vig et al. 2020; Heimersheim and Nanda 2024, arXiv 2404.15255)
-- columns:
--   prompt_form: phrasing of the task, none where there is one only, or all
--   n: examples
--   n_clusters: questions among them
--   clustered_df: degrees of freedom of the intervals (Bell and McCaffrey 2002): n_clusters - 1 where questions are equally large, fewer where not
--   n_effective_clusters: Kish's effective number of questions, (sum of sizes)^2 / sum of squared sizes: so many equally large ones weigh as much
--   is_skewed: the questions' means of a change are so skewed that an interval is too short on one side (skewness at least 1 and beyond twice its standard error)
--   restored: mean over examples of the restored fraction of the target's logit: 0 nothing, 1 all the way to the donor
--   restored_low: lower end of its 95% interval, Student t, clustered by question (CR2), this place alone (NULL where the questions do not differ)
--   restored_high: upper end
--   n_restored: examples with a restored fraction; where donor and base have the same logit there is none
--   restored_df: degrees of freedom of its interval
--   restored_pooled: mean change of the target's raw logit over the mean distance between donor and base: not moved by examples whose distance is near 0 (NULL: no distance)
--   restored_pooled_log_prob: the same of the target's log-probability, which a shift that all logits share does not change
--   base_prob: mean probability of the target without patching
--   donor_prob: mean probability of the target in the donor
--   prob: mean probability of the target with patching
--   log_prob_change: mean change of the target's log-probability, nats
--   log_prob_change_low: lower end of its 95% interval, as restored_low
--   log_prob_change_high: upper end
--   log_prob_change_adjusted_p: two-sided p of it adjusted for all layers and heads of the site: sign flips of questions, max-T (NULL: not computed or no variation)
--   log_prob_change_shrunken: log_prob_change drawn towards the mean of its site by what noise makes of the largest of many (empirical Bayes)
--   logit_change: mean change of the target's raw logit
--   logit_change_low: lower end of its 95% interval, as restored_low
--   logit_change_high: upper end
--   kl: mean KL divergence from the donor's next-token distribution to the patched one, nats
--   base_kl: the same to the unpatched one
--   kl_removed: share of base_kl that patching removes: 1 the donor's distribution, 0 none (NULL where base_kl is 0)
with read as (
  select *, coalesce(prompt_form, 'none') as form from patches
),
forms as (
  select * from read
  union all
  select * replace ('all' as form) from read
),
clusters as (
  select
    run_id,
    subject,
    checkpoint,
    stratum,
    form,
    donor,
    direction,
    site,
    layer,
    head,
    question_id,
    count(*) as n,
    count(restored) as n_restored,
    sum(restored) as restored_total,
    sum(logit - base_logit) as change_total,
    sum(donor_logit - base_logit) as distance_total,
    -sum(nats_lost(base_prob, prob)) as nats_total,
    -sum(nats_lost(base_prob, donor_prob)) as nats_distance,
    sum(base_prob) as base_prob,
    sum(donor_prob) as donor_prob,
    sum(prob) as prob,
    sum(kl) as kl,
    sum(base_kl) as base_kl
  from forms
  group by run_id, subject, checkpoint, stratum, form, donor, direction, site, layer, head, question_id
),
centred as (
  select
    *,
    n / sum(n) over places as share,
    n_restored / nullif(sum(n_restored) over places, 0) as restored_share,
    sum(restored_total) over places / nullif(sum(n_restored) over places, 0) as restored_mean,
    sum(change_total) over places / sum(n) over places as change_mean,
    sum(nats_total) over places / sum(n) over places as nats_mean
  from clusters
  window places as (partition by run_id, stratum, form, donor, direction, site, layer, head)
),
sums as (
  select
    run_id,
    any_value(subject) as subject,
    any_value(checkpoint) as checkpoint,
    stratum,
    form as prompt_form,
    donor,
    direction,
    site,
    layer,
    head,
    sum(n)::bigint as n,
    count(*) as n_clusters,
    sum(n_restored)::bigint as n_restored,
    count(*) filter (n_restored > 0) as n_restored_clusters,
    any_value(restored_mean) as restored,
    cr2_sem(sum(n_restored), n_restored_clusters, cr2_squares(n_restored, restored_total, restored_mean, restored_share)) as restored_sem,
    case when n_restored_clusters > 1 then cr2_df(restored_share) end as restored_df,
    case when count(*) > 1 then cr2_df(share) end as clustered_df,
    effective_clusters(share) as n_effective_clusters,
    is_skewed(cluster_skewness(n, change_total, change_mean), count(*))
    or is_skewed(cluster_skewness(n, nats_total, nats_mean), count(*))
    or coalesce(is_skewed(cluster_skewness(nullif(n_restored, 0), restored_total, restored_mean), n_restored_clusters), false) as is_skewed,
    any_value(change_mean) as logit_change,
    cr2_sem(sum(n), count(*), cr2_squares(n, change_total, change_mean, share)) as change_sem,
    sum(change_total) / nullif(sum(distance_total), 0) as restored_pooled,
    any_value(nats_mean) as log_prob_change,
    cr2_sem(sum(n), count(*), cr2_squares(n, nats_total, nats_mean, share)) as nats_sem,
    sum(nats_total) / nullif(sum(nats_distance), 0) as restored_pooled_log_prob,
    sum(base_prob) / sum(n) as base_prob,
    sum(donor_prob) / sum(n) as donor_prob,
    sum(prob) / sum(n) as prob,
    sum(kl) / sum(n) as kl,
    sum(base_kl) / sum(n) as base_kl
  from centred
  group by run_id, stratum, form, donor, direction, site, layer, head
),
quantiles as (
  select df, student_t_quantile(0.975, df) as quantile
  from (select clustered_df as df from sums union select restored_df from sums)
),
families as (
  select *, row(run_id, stratum, prompt_form, donor, direction, site) as family from sums
),
centred_families as (
  select *, family_centre(log_prob_change, family) as centre, family_spread(log_prob_change, nats_sem, family) as spread from families
),
tested as (
  select first_run, stratum, prompt_form, donor, direction, site, layer, head, n, n_clusters, adjusted_p from family_p where figure = 'patch_effects'
),
final as (
  select
    s.run_id,
    s.subject,
    s.checkpoint,
    s.stratum,
    s.prompt_form,
    s.donor,
    s.direction,
    s.site,
    s.layer,
    s.head,
    s.n,
    s.n_clusters,
    s.clustered_df,
    s.n_effective_clusters,
    s.is_skewed,
    s.restored,
    s.restored - nullif(s.restored_sem, 0) * r.quantile as restored_low,
    s.restored + nullif(s.restored_sem, 0) * r.quantile as restored_high,
    s.n_restored,
    s.restored_df,
    s.restored_pooled,
    s.restored_pooled_log_prob,
    s.base_prob,
    s.donor_prob,
    s.prob,
    s.log_prob_change,
    s.log_prob_change - nullif(s.nats_sem, 0) * q.quantile as log_prob_change_low,
    s.log_prob_change + nullif(s.nats_sem, 0) * q.quantile as log_prob_change_high,
    t.adjusted_p as log_prob_change_adjusted_p,
    shrunken(s.log_prob_change, s.nats_sem, s.centre, s.spread) as log_prob_change_shrunken,
    s.logit_change,
    s.logit_change - nullif(s.change_sem, 0) * q.quantile as logit_change_low,
    s.logit_change + nullif(s.change_sem, 0) * q.quantile as logit_change_high,
    s.kl,
    s.base_kl,
    1 - s.kl / nullif(s.base_kl, 0) as kl_removed
  from centred_families as s
  left join tested as t
    on t.first_run = s.run_id
    and t.stratum = s.stratum
    and t.prompt_form = s.prompt_form
    and t.donor is not distinct from s.donor
    and t.direction is not distinct from s.direction
    and t.site = s.site
    and t.layer = s.layer
    and t.head is not distinct from s.head
    and t.n = s.n
    and t.n_clusters = s.n_clusters
  left join quantiles as q on q.df = s.clustered_df
  left join quantiles as r on r.df = s.restored_df
)
select * from final
