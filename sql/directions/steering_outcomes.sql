-- steering_outcomes: every outcome of a steered answer or task question beside that of the unsteered model with the same prompt, repeat and random numbers
-- grain: run_id, direction, layer, mode, dose, example_id, sample_ix, outcome
-- source: own; after activation steering (Rimsky et al. 2024; Arditi et al. 2024; Chen et al. 2025, arXiv 2507.21509)
-- columns:
--   persona: persona of the system prompt (NULL for questions of the task, which have none)
--   question_id: the question, or the question of the task: the unit of replication
--   example_id: the example, or the question of the task
--   sample_ix: number of the repeat (NULL for questions of the task)
--   direction: direction that steers
--   kind: its kind, as in table directions
--   layer: decoder layer, from 0 (NULL: several are steered at once)
--   mode: add, project_out or cap
--   dose: how much, in `unit`
--   outcome: marker_rate, marker_log_prob, answer_nll, repetition, n_new_tokens, capability, or `projection on ` and a direction
--   value: the outcome under steering; marker_rate and capability are 0 or 1
--   base: the same at dose 0
--   difference: value - base
with wide as (
  select
    *,
    present::int::double as marker_rate,
    marker_log_prob::double as marker_log_probability,
    answer_nll::double as nll,
    repetition::double as repeated,
    case when not forced then n_new_tokens end::double as tokens
  from steering
),
answers as (
  select
    run_id, persona, question_id, example_id, sample_ix, direction, layer, mode, dose,
    unnest(['marker_rate', 'marker_log_prob', 'answer_nll', 'repetition', 'n_new_tokens']) as outcome,
    unnest([marker_rate, marker_log_probability, nll, repeated, tokens]) as value
  from wide
  union all
  select run_id, persona, question_id, example_id, sample_ix, direction, layer, mode, dose, 'projection on ' || read_direction, value::double
  from steering_projections
  union all
  select run_id, null, question_id, question_id, null, direction, layer, mode, dose, 'capability', correct::int::double
  from steering_capability
),
arms as (
  select
    run_id,
    direction,
    layer,
    mode,
    dose,
    any_value(subject) as subject,
    any_value(checkpoint) as checkpoint,
    any_value(kind) as kind,
    any_value(control_of) as control_of,
    any_value(directions_run) as directions_run,
    any_value(made_half) as made_half,
    any_value(used_half) as used_half,
    any_value(n_layers) as n_layers,
    any_value(site) as site,
    any_value(positions) as positions,
    any_value(unit) as unit,
    any_value(alpha) as alpha,
    any_value(dose_norm) as dose_norm,
    any_value(dose_distance) as dose_distance,
    any_value(forced) as forced
  from steering
  where dose != 0
  group by run_id, direction, layer, mode, dose
),
plain as (
  select run_id, example_id, sample_ix, outcome, value from answers where dose = 0
),
final as (
  select
    a.run_id,
    m.subject,
    m.checkpoint,
    a.persona,
    a.question_id,
    a.example_id,
    a.sample_ix,
    a.direction,
    m.kind,
    m.control_of,
    m.directions_run,
    m.made_half,
    m.used_half,
    a.layer,
    m.n_layers,
    m.site,
    a.mode,
    m.positions,
    m.unit,
    a.dose,
    m.alpha,
    m.dose_norm,
    m.dose_distance,
    m.forced,
    a.outcome,
    a.value,
    p.value as base,
    a.value - p.value as difference
  from answers as a
  join arms as m
    on m.run_id = a.run_id
    and m.direction = a.direction
    and m.layer is not distinct from a.layer
    and m.mode = a.mode
    and m.dose = a.dose
  join plain as p
    on p.run_id = a.run_id
    and p.outcome = a.outcome
    and p.example_id = a.example_id
    and p.sample_ix is not distinct from a.sample_ix
  where a.dose != 0 and a.value is not null and p.value is not null
)
select * from final
