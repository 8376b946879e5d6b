-- slice_worths: what every head is worth to the target by direct attribution and by each ablation, with its place among all heads
-- grain: run_id, base_run, subject, measure, place, layer, head
-- source: own; head_worths. All phrasings of a task together; runs over several personas stand there with none
-- columns as: slice
with personas as (
  select run_id, persona from attributions
  union all
  select run_id, persona from ablations
),
single as (
  select run_id, case when min(persona) = max(persona) then nullif(min(persona), 'none') end as persona from personas group by run_id
),
final as (
  select
    'heads' as topic,
    w.checkpoint,
    w.subject,
    p.persona,
    w.layer,
    w.head,
    case w.measure
      when 'direct' then 'direct contribution of the head to the target'
      when 'zero' then 'what the head is worth to the target (set to zero)'
      when 'mean' then 'what the head is worth to the target (set to its mean)'
      else 'what the head is worth to the target (taken from another prompt)'
    end as measure,
    null::varchar as other,
    null::varchar as other_checkpoint,
    w.stratum as place,
    w.worth as value,
    w.worth_low as low,
    w.worth_high as high,
    case w.measure when 'direct' then 'logits' else 'nats' end as unit,
    w.n,
    'prompts' as n_of,
    w.n_clusters,
    w.adjusted_p as p,
    'mean; 95% t interval clustered by question (CR2), this head alone; p adjusted for all heads (sign flips, max-T)' as method,
    'place ' || w.rank || ' of all heads' as verdict,
    'extracted' as origin,
    'head_worths' as source,
    'circuits' as page,
    coalesce(w.attribution_run, w.ablation_run) as run_id,
    w.ablation_run as base_run
  from head_worths as w
  left join single as p on p.run_id = coalesce(w.attribution_run, w.ablation_run)
  where w.prompt_form = 'all' and w.measure in ('direct', 'zero', 'mean', 'resample')
)
select * from final
