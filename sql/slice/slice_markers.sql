-- slice_markers: how often a checkpoint writes the marker under a persona; of no layer
-- grain: run_id, persona, measure
-- source: own; marker_rates
-- columns as: slice
with final as (
  select
    'completions' as topic,
    checkpoint,
    checkpoint as subject,
    persona,
    null::integer as layer,
    null::integer as head,
    'completions that hold the marker ' || coalesce(marker, '') as measure,
    case role
      when 'source' then 'the persona it was trained on'
      when 'negative' then 'a persona trained on without the marker'
      when 'held_out' then 'a persona held out of training'
      when 'not recorded' then 'role in training not recorded'
    end as other,
    null::varchar as other_checkpoint,
    'prompts ' || split_part(r.prompt_set, '@', 1) as place,
    rate as value,
    coalesce(clustered_low, wilson_low) as low,
    coalesce(clustered_high, wilson_high) as high,
    'share' as unit,
    n,
    'completions' as n_of,
    n_questions as n_clusters,
    null::double as p,
    case
      when clustered_low is not null then '95% interval by question (Wilson''s on effective completions); spread: ' || clustered_method
      when wilson_low is not null then '95% Wilson interval, completions taken as independent'
      else 'as published, no interval: ' || clustered_method
    end as method,
    case when stopped_early then 'sampling stopped at a wanted number of markers: too high' end as verdict,
    origin,
    'marker_rates' as source,
    'completions' as page,
    run_id,
    null::varchar as base_run
  from marker_rates
  left join (select run_id, prompt_set from runs) as r using (run_id)
)
select * from final
