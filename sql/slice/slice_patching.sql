-- slice_patching: what activations of a donor, put in at one layer and site, do to the target's log-probability
-- grain: run_id, measure, place, other, layer, head
-- source: own; patch_effects. All phrasings of a task together; a run over several personas stands there with none
-- columns as: slice
with personas as (
  select run_id, case when min(persona) = max(persona) then nullif(min(persona), 'none') end as persona from patches group by run_id
),
final as (
  select
    'circuits' as topic,
    e.checkpoint,
    e.subject,
    p.persona,
    e.layer,
    e.head,
    'change of the target''s log-probability under patching' as measure,
    'from ' || e.donor as other,
    null::varchar as other_checkpoint,
    concat_ws(' · ', e.stratum, e.site) as place,
    e.log_prob_change as value,
    e.log_prob_change_low as low,
    e.log_prob_change_high as high,
    'nats' as unit,
    e.n,
    'examples' as n_of,
    e.n_clusters,
    e.log_prob_change_adjusted_p as p,
    'mean change; 95% t interval clustered by question (CR2); p adjusted for all places of the site (sign flips, max-T)' as method,
    null::varchar as verdict,
    'extracted' as origin,
    'patch_effects' as source,
    'circuits' as page,
    e.run_id,
    null::varchar as base_run
  from patch_effects as e
  left join personas as p using (run_id)
  where e.prompt_form = 'all'
)
select * from final
