-- slice_directions: where prompts and answers of a persona lie along directions, and what steering along them changes
-- grain: run_id, base_run, persona, measure, other, place, layer
-- source: own; drift at single places and means, and steering_effects; controls stand in the method, not in rows
-- columns as: slice
with read as (
  select * from drift where step is null and turn is null and n_controls is not null
),
steered as (
  select * from steering_effects where kind not in ('random', 'random_in_span', 'shuffled') and persona not in ('all', 'others')
),
final as (
  select
    'directions' as topic,
    checkpoint,
    subject,
    coalesce(condition, persona) as persona,
    layer,
    null::integer as head,
    'mean projection on ' || direction as measure,
    null::varchar as other,
    null::varchar as other_checkpoint,
    concat_ws(' · ', stratum, site, case when seen then 'questions the direction was made on' end) as place,
    mean as value,
    low,
    high,
    'length along the direction' as unit,
    n,
    'prompts or answers' as n_of,
    n_questions as n_clusters,
    null::double as p,
    'mean over questions; 95% t interval over them'
      || case when n_controls > 0 then format('; 95% of {} control directions between {:.3g} and {:.3g}', n_controls, control_low, control_high) else '' end as method,
    case when n_controls > 0 and mean not between control_low and control_high then 'outside what control directions do' end as verdict,
    'extracted' as origin,
    'drift' as source,
    'directions' as page,
    run_id,
    directions_run as base_run
  from read
  union all
  select
    'directions',
    checkpoint,
    subject,
    nullif(persona, 'task'),
    layer,
    null,
    'change of ' || replace(outcome, '_', ' '),
    format('{} {}, dose {:g} ({})', replace(mode, '_', ' '), direction, dose, case mode when 'add' then unit else 'share' end),
    null,
    concat_ws(' · ', site, positions, case when forced then 'answers as given' end),
    difference,
    low,
    high,
    case
      when outcome in ('marker_rate', 'capability', 'repetition') then 'share'
      when outcome = 'n_new_tokens' then 'tokens'
      when outcome like 'projection on %' then 'length along the direction'
      else 'nats'
    end,
    n,
    case outcome when 'capability' then 'questions of the task' else 'answers' end,
    n_clusters,
    control_p_adjusted,
    'mean of differences to dose 0, paired by prompt and repeat; 95% t interval by question (CR2)'
      || case when n_controls > 0 then format('; p: rank among {} control directions, adjusted for {} layers', n_controls, n_layers_tried) else '; no control directions' end,
    case when is_broken then 'the dose leaves too little of the model' end,
    'extracted',
    'steering_effects',
    'directions',
    run_id,
    directions_run
  from steered
)
select * from final
