-- steering_layer_picked: a direction that stands out from its controls at its best layer, and does not once all layers that were tried count
-- grain: subject
-- source: own; max-T over layers (Westfall and Young 1993)
-- severity: warning
-- page: directions
-- columns:
--   subject: checkpoint that is steered and direction
with best as (
  select
    run_id,
    any_value(subject) as subject,
    direction,
    mode,
    dose,
    outcome,
    arg_min(layer, control_p) as layer,
    min(control_p) as control_p,
    arg_min(control_p_adjusted, control_p) as adjusted_p,
    max(n_layers_tried) as n_layers
  from steering_effects
  where
    persona = 'all'
    and outcome in ('marker_rate', 'marker_log_prob')
    and n_layers_tried > 1
    and not coalesce(kind in ('random', 'random_in_span', 'shuffled'), false)
  group by run_id, direction, mode, dose, outcome
),
doubtful as (
  select
    run_id,
    any_value(subject) as subject,
    direction,
    mode,
    count(*) filter (control_p <= 0.05) as n_found,
    count(*) filter (control_p <= 0.05 and adjusted_p > 0.05) as n_lost,
    arg_min(layer, control_p) as layer,
    arg_min(control_p, control_p) as control_p,
    arg_min(adjusted_p, control_p) as adjusted_p,
    max(n_layers) as n_layers
  from best
  group by run_id, direction, mode
),
final as (
  select
    subject_of(format('{}, {} ({})', subject, direction, mode), run_id) as subject,
    format(
      'stands out from its control directions at layer {} ({}), which was picked of {}: for all of them {}',
      layer,
      p_words(control_p),
      n_layers,
      p_words(adjusted_p)
    ) as finding,
    format(
      'select layer, dose, outcome, difference, control_p, control_p_adjusted from steering_effects where run_id = {} and direction = {} and persona = {} and control_p <= 0.05 order by all',
      sql_text(run_id),
      sql_text(direction),
      sql_text('all')
    ) as evidence
  from doubtful
  where n_found > 0 and n_lost = n_found
)
select * from final
