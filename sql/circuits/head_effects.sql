-- head_effects: direct attribution and ablation of every head side by side, mean over prompts, with its attention to the first token
-- grain: attribution_run, ablation_run, stratum, prompt_form, layer, head
-- source: own; after the echo write-up, which compares direct logit attribution with zero ablation and finds an attention sink
-- columns:
--   attribution_run: run of the direct attributions (NULL: none)
--   ablation_run: run of the ablations (NULL: none)
--   prompt_form: phrasing of the task, none where there is one only, or all
--   n: prompts
--   n_clusters: questions among them
--   dla: mean direct contribution to the target's logit, final norm's scale frozen (NULL: not computed)
--   dla_margin: the same to the target's logit minus the runner-up's
--   zero: mean change of the target's log-probability when the head's output is set to zero, nats
--   mean: the same when it is set to its mean over prompts
--   resample: the same when it is taken from another prompt
--   zero_margin: mean change of the target's logit minus that of the likeliest other token, zero ablation (NULL of runs that did not keep it)
--   mean_margin: the same, mean ablation
--   resample_margin: the same, resample ablation
--   zero_logit: mean change of the target's raw logit, zero ablation: a shift that all logits share changes it too
--   mean_logit: the same, mean ablation
--   resample_logit: the same, resample ablation
--   dla_adjusted_p: two-sided p of dla adjusted for all heads of the model: sign flips of questions, max-T (NULL: not computed or no variation)
--   dla_margin_adjusted_p: the same of dla_margin
--   zero_adjusted_p: of zero
--   mean_adjusted_p: of mean
--   resample_adjusted_p: of resample
--   dla_shrunken: dla drawn towards the mean of all heads by what noise makes of the largest of many (empirical Bayes): for heads that are picked by rank
--   dla_margin_shrunken: the same of dla_margin
--   zero_shrunken: of zero
--   mean_shrunken: of mean
--   resample_shrunken: of resample
--   kl_zero: mean KL divergence of the whole next-token distribution, nats, zero ablation
--   kl_mean: the same, mean ablation
--   kl_resample: the same, resample ablation
--   flips_zero: share of prompts at which zero ablation changes the top-1 token
--   flips_mean: the same, mean ablation
--   flips_resample: the same, resample ablation
--   bos_fraction: mean attention of the head at this place to the first token: near 1 is an attention sink
--   attention_entropy: mean entropy of its attention row, nats
--   dla_layer_rank: place by dla in its layer, the largest first
--   dla_rank: place by dla in the model
--   dla_margin_layer_rank: place by dla_margin in its layer
--   dla_margin_rank: place by dla_margin in the model
--   zero_layer_rank: place by what zero ablation takes from the target's log-probability in its layer, the largest loss first
--   zero_rank: place by it in the model
--   mean_rank: place in the model by what mean ablation takes
--   resample_rank: place in the model by what resample ablation takes
--   n_dla_layer_top3: prompts at which the head is among the first three of its layer by dla
--   n_dla_margin_layer_top3: the same by dla_margin
--   n_zero_layer_top3: the same by zero ablation
--   n_mean_layer_top3: the same by mean ablation
--   n_dla_top3: prompts at which it is among the first three of the model by dla
--   n_dla_margin_top3: the same by dla_margin
--   n_zero_top3: the same by zero ablation
--   n_mean_top3: the same by mean ablation
with worths as (
  select
    attribution_run,
    ablation_run,
    subject,
    any_value(checkpoint) as checkpoint,
    stratum,
    prompt_form,
    layer,
    head,
    max(n) as n,
    max(n_clusters) as n_clusters,
    max(worth) filter (measure = 'direct') as dla,
    max(worth) filter (measure = 'direct_margin') as dla_margin,
    -max(worth) filter (measure = 'zero') as zero,
    -max(worth) filter (measure = 'mean') as mean,
    -max(worth) filter (measure = 'resample') as resample,
    -max(worth) filter (measure = 'zero_margin') as zero_margin,
    -max(worth) filter (measure = 'mean_margin') as mean_margin,
    -max(worth) filter (measure = 'resample_margin') as resample_margin,
    -max(worth) filter (measure = 'zero_logit') as zero_logit,
    -max(worth) filter (measure = 'mean_logit') as mean_logit,
    -max(worth) filter (measure = 'resample_logit') as resample_logit,
    max(adjusted_p) filter (measure = 'direct') as dla_adjusted_p,
    max(adjusted_p) filter (measure = 'direct_margin') as dla_margin_adjusted_p,
    max(adjusted_p) filter (measure = 'zero') as zero_adjusted_p,
    max(adjusted_p) filter (measure = 'mean') as mean_adjusted_p,
    max(adjusted_p) filter (measure = 'resample') as resample_adjusted_p,
    max(shrunken) filter (measure = 'direct') as dla_shrunken,
    max(shrunken) filter (measure = 'direct_margin') as dla_margin_shrunken,
    -max(shrunken) filter (measure = 'zero') as zero_shrunken,
    -max(shrunken) filter (measure = 'mean') as mean_shrunken,
    -max(shrunken) filter (measure = 'resample') as resample_shrunken,
    max(layer_rank) filter (measure = 'direct') as dla_layer_rank,
    max(rank) filter (measure = 'direct') as dla_rank,
    max(layer_rank) filter (measure = 'direct_margin') as dla_margin_layer_rank,
    max(rank) filter (measure = 'direct_margin') as dla_margin_rank,
    max(layer_rank) filter (measure = 'zero') as zero_layer_rank,
    max(rank) filter (measure = 'zero') as zero_rank,
    max(rank) filter (measure = 'mean') as mean_rank,
    max(rank) filter (measure = 'resample') as resample_rank,
    max(n_layer_top3) filter (measure = 'direct') as n_dla_layer_top3,
    max(n_layer_top3) filter (measure = 'direct_margin') as n_dla_margin_layer_top3,
    max(n_layer_top3) filter (measure = 'zero') as n_zero_layer_top3,
    max(n_layer_top3) filter (measure = 'mean') as n_mean_layer_top3,
    max(n_top3) filter (measure = 'direct') as n_dla_top3,
    max(n_top3) filter (measure = 'direct_margin') as n_dla_margin_top3,
    max(n_top3) filter (measure = 'zero') as n_zero_top3,
    max(n_top3) filter (measure = 'mean') as n_mean_top3
  from head_worths
  group by attribution_run, ablation_run, subject, stratum, prompt_form, layer, head
),
kept as (
  select run_id as attribution_run, coalesce(prompt_form, 'none') as form, stratum, layer, head, bos, entropy from attributions where component = 'head'
),
sinks as (
  select
    attribution_run,
    stratum,
    case when grouping(form) = 1 then 'all' else form end as prompt_form,
    layer,
    head,
    avg(bos) as bos_fraction,
    avg(entropy) as attention_entropy
  from kept
  group by grouping sets ((attribution_run, stratum, layer, head, form), (attribution_run, stratum, layer, head))
),
removed as (
  select run_id as ablation_run, coalesce(prompt_form, 'none') as form, stratum, layer, head, method, kl, top1_id <> base_top1_id as flips from ablations
),
divergences as (
  select
    ablation_run,
    stratum,
    case when grouping(form) = 1 then 'all' else form end as prompt_form,
    layer,
    head,
    avg(kl) filter (method = 'zero') as kl_zero,
    avg(kl) filter (method = 'mean') as kl_mean,
    avg(kl) filter (method = 'resample') as kl_resample,
    avg(flips::integer) filter (method = 'zero') as flips_zero,
    avg(flips::integer) filter (method = 'mean') as flips_mean,
    avg(flips::integer) filter (method = 'resample') as flips_resample
  from removed
  group by grouping sets ((ablation_run, stratum, layer, head, form), (ablation_run, stratum, layer, head))
),
final as (
  select
    w.attribution_run,
    w.ablation_run,
    w.subject,
    w.checkpoint,
    w.stratum,
    w.prompt_form,
    w.layer,
    w.head,
    w.n,
    w.n_clusters,
    w.dla,
    w.dla_margin,
    w.zero,
    w.mean,
    w.resample,
    w.zero_margin,
    w.mean_margin,
    w.resample_margin,
    w.zero_logit,
    w.mean_logit,
    w.resample_logit,
    w.dla_adjusted_p,
    w.dla_margin_adjusted_p,
    w.zero_adjusted_p,
    w.mean_adjusted_p,
    w.resample_adjusted_p,
    w.dla_shrunken,
    w.dla_margin_shrunken,
    w.zero_shrunken,
    w.mean_shrunken,
    w.resample_shrunken,
    d.kl_zero,
    d.kl_mean,
    d.kl_resample,
    d.flips_zero,
    d.flips_mean,
    d.flips_resample,
    s.bos_fraction,
    s.attention_entropy,
    w.dla_layer_rank,
    w.dla_rank,
    w.dla_margin_layer_rank,
    w.dla_margin_rank,
    w.zero_layer_rank,
    w.zero_rank,
    w.mean_rank,
    w.resample_rank,
    w.n_dla_layer_top3,
    w.n_dla_margin_layer_top3,
    w.n_zero_layer_top3,
    w.n_mean_layer_top3,
    w.n_dla_top3,
    w.n_dla_margin_top3,
    w.n_zero_top3,
    w.n_mean_top3
  from worths as w
  left join sinks as s using (attribution_run, stratum, prompt_form, layer, head)
  left join divergences as d using (ablation_run, stratum, prompt_form, layer, head)
)
select * from final
