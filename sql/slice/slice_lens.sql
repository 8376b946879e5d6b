-- slice_lens: what the logit lens reads at a layer: the probability of the target, and of the marker in trained against untrained
-- grain: run_id, base_run, subject, measure, place, layer
-- source: own; logit_lens_layers and marker_lens. All phrasings of a task together; a lens run over several personas stands there with none
-- columns as: slice
with personas as (
  select run_id, case when min(persona) = max(persona) then nullif(min(persona), 'none') end as persona from logit_lens group by run_id
),
gathered as (
  select
    run_id,
    null::varchar as base_run,
    subject,
    checkpoint,
    layer,
    'probability of the target in the logit lens' as measure,
    null::varchar as other,
    null::varchar as other_checkpoint,
    stratum as place,
    target_prob as value,
    target_prob_low as low,
    target_prob_high as high,
    n,
    case stratum when 'marker' then 'generations' else 'prompts' end as n_of,
    n_clusters,
    null::double as p,
    format('top-1 at {} of {}; mean; 95% t interval clustered by question (CR2), this layer alone', n_top1, n) as method,
    'logit_lens_layers' as source
  from logit_lens_layers
  where prompt_form = 'all' and stratum <> 'every'
  union all by name
  select
    trained_run as run_id,
    base_run,
    trained_subject as subject,
    trained_checkpoint as checkpoint,
    layer,
    'probability of the marker in the logit lens, trained minus untrained' as measure,
    'against ' || base_checkpoint || ' on the same tokens' as other,
    base_checkpoint as other_checkpoint,
    'marker' as place,
    prob_difference as value,
    prob_low as low,
    prob_high as high,
    n,
    'generations' as n_of,
    n_clusters,
    prob_adjusted_p as p,
    'mean of paired differences; 95% t interval clustered by question (CR2); p adjusted for all layers (sign flips, max-T)' as method,
    'marker_lens' as source
  from marker_lens
  where base_run is not null
),
final as (
  select
    'circuits' as topic,
    g.checkpoint,
    g.subject,
    p.persona,
    g.layer,
    null::integer as head,
    g.measure,
    g.other,
    g.other_checkpoint,
    g.place,
    g.value,
    g.low,
    g.high,
    'probability' as unit,
    g.n,
    g.n_of,
    g.n_clusters,
    g.p,
    g.method,
    null::varchar as verdict,
    'extracted' as origin,
    g.source,
    'circuits' as page,
    g.run_id,
    g.base_run
  from gathered as g
  left join personas as p using (run_id)
)
select * from final
