-- steering_breaks_model: an effect on the marker at a dose that leaves little of the model: its answers are perplexing or it knows less
-- grain: subject
-- source: own; perplexity and capability against those of dose 0, limits in thresholds
-- severity: warning
-- page: directions
-- columns:
--   subject: checkpoint that is steered and direction
with effects as (
  select *
  from steering_changes
  where persona = 'all' and outcome in ('marker_rate', 'marker_log_prob') and not coalesce(kind in ('random', 'random_in_span', 'shuffled'), false)
),
counted as (
  select
    run_id,
    any_value(subject) as subject,
    direction,
    mode,
    count(distinct row(layer, dose)) filter (is_broken and (low > 0 or high < 0)) as n_broken,
    count(distinct row(layer, dose)) filter (not is_broken and (low > 0 or high < 0)) as n_sound,
    min(abs(dose)) filter (is_broken and (low > 0 or high < 0)) as least,
    exp(max(nll_change) filter (is_broken and (low > 0 or high < 0))) as perplexity,
    min(capability_change) filter (is_broken and (low > 0 or high < 0)) as capability
  from effects
  group by run_id, direction, mode
),
final as (
  select
    subject_of(format('{}, {} ({})', subject, direction, mode), run_id) as subject,
    format(
      '{} doses with an effect on the marker break the model, from {} on: perplexity {} times that of dose 0 at most, right answers {} at least; {} doses with an effect do not',
      n_broken,
      figure(least),
      coalesce(figure(perplexity), 'not measured,'),
      coalesce(change_words(capability), 'not measured'),
      n_sound
    ) as finding,
    format(
      'select layer, dose, outcome, difference, low, high, nll_change, capability_change from steering_changes where run_id = {} and direction = {} and is_broken and persona = {} order by all',
      sql_text(run_id),
      sql_text(direction),
      sql_text('all')
    ) as evidence
  from counted
  where n_broken > 0
)
select * from final
