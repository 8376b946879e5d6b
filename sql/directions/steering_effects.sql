-- steering_effects: what a dose of a direction does to each outcome, paired with dose 0, with its interval by question and beside control directions
-- grain: run_id, direction, layer, mode, dose, persona, outcome
-- source: own; controls after the random directions of Arditi et al. 2024; the rank test is exact where the direction is one of its controls, max-T over layers after
--   Westfall and Young 1993. Perplexity and capability are those of the arm over all personas
-- columns:
--   direction: direction that steers; controls have rows too, each compared with the other controls
--   kind: its kind, as in table directions
--   layer: decoder layer, from 0 (NULL: several are steered at once)
--   mode: add, project_out or cap
--   dose: how much, in `unit`: norm (mean length of the residual stream), distance (between personas), or share of the change that is made
--   dose_norm: the dose in the first of these (NULL: nothing is added)
--   dose_distance: the dose in the second (NULL: nothing is added, or one persona)
--   used_half: questions that were asked; made_half is that of the questions the direction was made on
--   persona: persona of the system prompt, all, others for all but the one the checkpoint was trained on, or task
--   outcome: marker_rate, marker_log_prob (nats, at t*), answer_nll (nats a token under the unsteered model), repetition, n_new_tokens, capability, `projection on ` a direction
--   n: answers, or questions of the task
--   n_clusters: questions among them
--   clustered_df: degrees of freedom of the interval (Bell and McCaffrey 2002)
--   n_effective_clusters: Kish's effective number of questions
--   is_skewed: the questions' means are so skewed that the interval is too short on one side
--   base: mean outcome at dose 0
--   value: mean outcome under steering
--   difference: mean difference of the pairs of one prompt and repeat
--   sem: standard error of the difference, by question (CR2)
--   low: lower end of its 95% interval, Student t, clustered by question (CR2; NULL with one question, or where no pair differs)
--   high: upper end
--   nll_change: change of answer_nll by this dose over all personas (NULL: answers were given)
--   capability_change: change of the share of right answers to the task (NULL: no task)
--   is_broken: nll_change or capability_change is beyond what `thresholds` allows: so little is left of the model that an effect says nothing
--   control_kind: controls it is compared with: random where there are any, else random_in_span, else shuffled (NULL: there are none)
--   n_controls: how many of them were steered along at the same layer, mode and dose, not counting itself
--   control_mean: mean of their differences
--   control_low: 2.5% quantile of them
--   control_high: 97.5% quantile
--   control_effect: standardised effect: (difference - control_mean) / their standard deviation (NULL with fewer than two, or where they do not differ)
--   control_p: share of direction and controls together that lie as far from their common mean: two-sided, at least 1 / (n_controls + 1)
--   control_p_adjusted: the same of the largest over layers, each in standard deviations there (max-T): for a layer that was picked
--   n_layers_tried: layers at which this direction was steered alone in this way
with sums as (
  select *, coalesce(kind in ('random', 'random_in_span', 'shuffled'), false) as is_control from steering_changes
),
compared as (
  select
    s.run_id,
    s.direction,
    s.layer,
    s.mode,
    s.dose,
    s.persona,
    s.outcome,
    s.difference as own,
    c.kind as control_kind,
    c.direction as control,
    c.difference as found
  from sums as s
  join sums as c
    on c.is_control
    and c.run_id = s.run_id
    and c.layer is not distinct from s.layer
    and c.mode = s.mode
    and c.dose = s.dose
    and c.persona = s.persona
    and c.outcome = s.outcome
    and c.direction != s.direction
    and (not s.is_control or c.kind = s.kind)
    and (c.kind != 'shuffled' or s.is_control or c.control_of = s.direction)
),
preferred as (
  select * exclude (ranked)
  from (
    select
      *,
      dense_rank() over (
        partition by run_id, direction, layer, mode, dose, persona, outcome
        order by case control_kind when 'random' then 1 when 'random_in_span' then 2 else 3 end
      ) as ranked
    from compared
  )
  where ranked = 1
),
pooled as (
  select
    *,
    count(*) over pool as n_controls,
    (sum(found) over pool + own) / (count(*) over pool + 1) as centre,
    sqrt(
      greatest(0, (sum(found ** 2) over pool + own ** 2) / (count(*) over pool + 1) - ((sum(found) over pool + own) / (count(*) over pool + 1)) ** 2)
    ) as spread
  from preferred
  window pool as (partition by run_id, direction, layer, mode, dose, persona, outcome)
),
far as (
  select
    *,
    1e-9 * greatest(abs(own), abs(centre), 1e-12) as rounding,
    abs(own - centre) / nullif(spread, 0) as own_far,
    abs(found - centre) / nullif(spread, 0) as found_far
  from pooled
),
tested as (
  select
    run_id,
    direction,
    layer,
    mode,
    dose,
    persona,
    outcome,
    any_value(control_kind) as control_kind,
    any_value(n_controls) as n_controls,
    any_value(own_far) as own_far,
    avg(found) as control_mean,
    quantile_cont(found, 0.025) as control_low,
    quantile_cont(found, 0.975) as control_high,
    (any_value(own) - avg(found)) / nullif(case when count(*) > 1 and max(found) > min(found) then stddev_samp(found) end, 0) as control_effect,
    case
      when any_value(spread) > any_value(rounding)
        then (1 + count(*) filter (abs(found - centre) >= abs(own - centre) - rounding)) / (count(*) + 1)
    end as control_p
  from far
  group by run_id, direction, layer, mode, dose, persona, outcome
),
farthest as (
  select run_id, direction, mode, dose, persona, outcome, control, max(found_far) as found_farthest, count(*) as n_layers_of_control
  from far
  where layer is not null
  group by run_id, direction, mode, dose, persona, outcome, control
),
tried as (
  select run_id, direction, mode, dose, persona, outcome, count(layer) as n_layers_tried from sums group by all
),
adjusted as (
  select
    t.run_id,
    t.direction,
    t.layer,
    t.mode,
    t.dose,
    t.persona,
    t.outcome,
    case
      when any_value(t.own_far) is not null and min(f.n_layers_of_control) = any_value(r.n_layers_tried)
        then (1 + count(*) filter (f.found_farthest >= t.own_far - 1e-9)) / (count(*) + 1)
    end as control_p_adjusted
  from tested as t
  join farthest as f using (run_id, direction, mode, dose, persona, outcome)
  join tried as r using (run_id, direction, mode, dose, persona, outcome)
  where t.layer is not null
  group by t.run_id, t.direction, t.layer, t.mode, t.dose, t.persona, t.outcome
),
final as (
  select
    s.* exclude (is_control),
    t.control_kind,
    coalesce(t.n_controls, 0) as n_controls,
    t.control_mean,
    t.control_low,
    t.control_high,
    t.control_effect,
    t.control_p,
    case when r.n_layers_tried > 1 then a.control_p_adjusted else t.control_p end as control_p_adjusted,
    r.n_layers_tried
  from sums as s
  left join tested as t
    on t.run_id = s.run_id
    and t.direction = s.direction
    and t.layer is not distinct from s.layer
    and t.mode = s.mode
    and t.dose = s.dose
    and t.persona = s.persona
    and t.outcome = s.outcome
  left join adjusted as a
    on a.run_id = s.run_id
    and a.direction = s.direction
    and a.layer = s.layer
    and a.mode = s.mode
    and a.dose = s.dose
    and a.persona = s.persona
    and a.outcome = s.outcome
  left join tried as r
    on r.run_id = s.run_id
    and r.direction = s.direction
    and r.mode = s.mode
    and r.dose = s.dose
    and r.persona = s.persona
    and r.outcome = s.outcome
)
select * from final
