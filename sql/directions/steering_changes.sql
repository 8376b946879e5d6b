-- steering_changes: what a dose of a direction does to each outcome, paired with dose 0, with its interval by question, and what it leaves of the model
-- grain: run_id, direction, layer, mode, dose, persona, outcome
-- source: own; perplexity and capability are those of the arm over all personas
-- columns:
--   direction: direction that steers; controls have rows too
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
with asked as (
  select * replace (coalesce(persona, 'task') as persona) from steering_outcomes
),
formed as (
  select * from asked
  union all
  select * replace ('all' as persona) from asked where outcome != 'capability'
  union all
  select a.* replace ('others' as persona)
  from asked as a
  join checkpoints as c on c.run_id = a.run_id and c.checkpoint = a.checkpoint
  where a.outcome != 'capability' and a.persona != c.source_persona
),
clusters as (
  select
    run_id,
    any_value(subject) as subject,
    any_value(checkpoint) as checkpoint,
    any_value(directions_run) as directions_run,
    any_value(kind) as kind,
    any_value(control_of) as control_of,
    any_value(made_half) as made_half,
    any_value(used_half) as used_half,
    any_value(n_layers) as n_layers,
    any_value(site) as site,
    any_value(positions) as positions,
    any_value(unit) as unit,
    any_value(dose_norm) as dose_norm,
    any_value(dose_distance) as dose_distance,
    any_value(forced) as forced,
    direction,
    layer,
    mode,
    dose,
    persona,
    outcome,
    question_id,
    count(*) as n,
    sum(base) as base_total,
    sum(value) as value_total,
    sum(difference) as total
  from formed
  group by run_id, direction, layer, mode, dose, persona, outcome, question_id
),
centred as (
  select
    *,
    n / sum(n) over arm as share,
    sum(total) over arm / sum(n) over arm as mean
  from clusters
  window arm as (partition by run_id, direction, layer, mode, dose, persona, outcome)
),
sums as (
  select
    run_id,
    any_value(subject) as subject,
    any_value(checkpoint) as checkpoint,
    any_value(directions_run) as directions_run,
    direction,
    any_value(kind) as kind,
    any_value(control_of) as control_of,
    any_value(made_half) as made_half,
    any_value(used_half) as used_half,
    layer,
    any_value(n_layers) as n_layers,
    any_value(site) as site,
    mode,
    any_value(positions) as positions,
    any_value(unit) as unit,
    dose,
    any_value(dose_norm) as dose_norm,
    any_value(dose_distance) as dose_distance,
    any_value(forced) as forced,
    persona,
    outcome,
    sum(n)::bigint as n,
    count(*) as n_clusters,
    case when count(*) > 1 then cr2_df(share) end as clustered_df,
    effective_clusters(share) as n_effective_clusters,
    is_skewed(cluster_skewness(n, total, mean), count(*)) as is_skewed,
    sum(base_total) / sum(n) as base,
    sum(value_total) / sum(n) as value,
    any_value(mean) as difference,
    cr2_sem(sum(n), count(*), cr2_squares(n, total, mean, share)) as sem
  from centred
  group by run_id, direction, layer, mode, dose, persona, outcome
),
quantiles as (
  select clustered_df as df, student_t_quantile(0.975, clustered_df) as quantile from (select distinct clustered_df from sums)
),
health as (
  select
    run_id,
    direction,
    layer,
    mode,
    dose,
    max(difference) filter (outcome = 'answer_nll' and persona = 'all') as nll_change,
    max(difference) filter (outcome = 'capability') as capability_change
  from sums
  group by run_id, direction, layer, mode, dose
),
limits as (
  select
    ln(max(value) filter (name = 'steering_perplexity')) as nll,
    max(value) filter (name = 'steering_capability') as capability
  from thresholds
),
final as (
  select
    s.*,
    s.difference - nullif(s.sem, 0) * q.quantile as low,
    s.difference + nullif(s.sem, 0) * q.quantile as high,
    h.nll_change,
    h.capability_change,
    coalesce(h.nll_change > l.nll, false) or coalesce(h.capability_change < -l.capability, false) as is_broken
  from sums as s
  cross join limits as l
  left join quantiles as q on q.df = s.clustered_df
  left join health as h
    on h.run_id = s.run_id
    and h.direction = s.direction
    and h.layer is not distinct from s.layer
    and h.mode = s.mode
    and h.dose = s.dose
)
select * from final
