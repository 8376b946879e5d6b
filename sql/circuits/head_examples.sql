-- head_examples: what every head is worth to the target at every prompt, by each measure, with its place among the heads
-- grain: attribution_run, ablation_run, example_id, sample_ix, stratum, position, layer, head, measure
-- source: own; after the echo write-up, which ranks heads of one layer by direct logit attribution and by ablation. An ablation that moves all logits alike
--   changes the target's and nothing the model says, so its worth is in log-probability or in margin, and the raw logit stands beside them
-- columns:
--   attribution_run: run of the direct attributions (NULL: none)
--   ablation_run: run of the ablations (NULL: none)
--   prompt_form: phrasing of the task, none where there is one only
--   measure: direct, direct_margin; ablations zero, mean, resample, scale with its factor, each also with _margin and _logit behind it; sieve (the estimate of
--     zero_logit from gradients)
--   worth: direct: what the head adds to the target's logit; direct_margin: to the target's logit minus the runner-up's; an ablation: what the target's
--     log-probability loses without the head, nats; with _margin: what the target's logit minus the likeliest other token's loses (no row in runs that did not
--     keep it); with _logit and sieve: what the target's raw logit loses
--   layer_rank: place among the heads of its layer, the largest worth first
--   rank: place among all heads of the model, likewise
with pairs as (
  select * from circuit_runs
),
direct as (
  select run_id, subject, checkpoint, prompt_form, question_id, example_id, sample_ix, stratum, position, layer, head, direct, direct_margin
  from attributions
  where component = 'head'
),
removed as (
  select
    run_id,
    subject,
    checkpoint,
    prompt_form,
    question_id,
    example_id,
    sample_ix,
    stratum,
    position,
    layer,
    head,
    case when method = 'scale' then 'scale ' || scale else method end as variant,
    nats_lost(base_prob, prob) as nats,
    base_margin::double - margin as margin,
    base_logit::double - logit as logit,
    case when method = 'zero' then -sieve::double end as sieve
  from ablations
),
worths as (
  select p.attribution_run, p.ablation_run, d.* exclude (run_id, direct, direct_margin), m.*
  from direct as d
  join pairs as p on p.attribution_run = d.run_id
  cross join lateral (select unnest(['direct', 'direct_margin']) as measure, unnest([d.direct::double, d.direct_margin]) as worth) as m
  union all
  select p.attribution_run, p.ablation_run, r.* exclude (run_id, variant, nats, margin, logit, sieve), m.*
  from removed as r
  join pairs as p on p.ablation_run = r.run_id
  cross join lateral (
    select
      unnest([r.variant, r.variant || '_margin', r.variant || '_logit', 'sieve']) as measure,
      unnest([r.nats, r.margin, r.logit, r.sieve]) as worth
  ) as m
),
measured as (
  select * from worths where worth is not null
),
final as (
  select
    attribution_run,
    ablation_run,
    subject,
    checkpoint,
    coalesce(prompt_form, 'none') as prompt_form,
    question_id,
    example_id,
    sample_ix,
    stratum,
    position,
    layer,
    head,
    measure,
    worth,
    rank() over (partition by attribution_run, ablation_run, example_id, sample_ix, stratum, position, measure, layer order by worth desc) as layer_rank,
    rank() over (partition by attribution_run, ablation_run, example_id, sample_ix, stratum, position, measure order by worth desc) as rank
  from measured
)
select * from final
