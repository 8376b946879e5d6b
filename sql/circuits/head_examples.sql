-- head_examples: what every head is worth to the target at every prompt, by each measure, with its place among the heads
-- grain: attribution_run, ablation_run, example_id, sample_ix, stratum, position, layer, head, measure
-- source: own; after the echo write-up, which ranks heads of one layer by direct logit attribution and by ablation
-- columns:
--   attribution_run: run of the direct attributions (NULL: none)
--   ablation_run: run of the ablations (NULL: none)
--   prompt_form: phrasing of the task, none where there is one only
--   measure: direct, direct_margin, zero, mean, resample, scale with its factor, or sieve (the estimate of zero from gradients)
--   worth: what the head adds to the target's logit: its direct contribution, or what the logit loses without it
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
    method,
    scale,
    base_logit - logit as worth,
    sieve
  from ablations
),
measured as (
  select p.attribution_run, p.ablation_run, d.* exclude (run_id, direct, direct_margin), 'direct' as measure, d.direct::double as worth
  from direct as d
  join pairs as p on p.attribution_run = d.run_id
  union all
  select p.attribution_run, p.ablation_run, d.* exclude (run_id, direct, direct_margin), 'direct_margin', d.direct_margin
  from direct as d
  join pairs as p on p.attribution_run = d.run_id
  union all
  select
    p.attribution_run,
    p.ablation_run,
    r.* exclude (run_id, method, scale, worth, sieve),
    case when r.method = 'scale' then 'scale ' || r.scale else r.method end,
    r.worth
  from removed as r
  join pairs as p on p.ablation_run = r.run_id
  union all
  select p.attribution_run, p.ablation_run, r.* exclude (run_id, method, scale, worth, sieve), 'sieve', -r.sieve
  from removed as r
  join pairs as p on p.ablation_run = r.run_id
  where r.method = 'zero' and r.sieve is not null
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
    rank() over (
      partition by attribution_run, ablation_run, example_id, sample_ix, stratum, position, measure, layer order by worth desc nulls last
    ) as layer_rank,
    rank() over (partition by attribution_run, ablation_run, example_id, sample_ix, stratum, position, measure order by worth desc nulls last) as rank
  from measured
)
select * from final
