-- steering_slopes: dose response of each outcome to a direction on one side of dose 0: its slope, where more of it does no more, and where the model breaks
-- grain: run_id, direction, layer, mode, side, persona, outcome
-- source: own; the slope of a question is that of its differences to dose 0 on the dose, through the origin (least squares), and questions count alike
-- columns:
--   direction: direction that steers; controls have rows too
--   kind: its kind, as in table directions
--   layer: decoder layer, from 0 (NULL: several are steered at once)
--   mode: add, project_out or cap
--   side: more for doses above 0, less for those below
--   unit: unit of the doses
--   persona: persona of the system prompt, all, or task
--   outcome: as in steering_changes
--   n_doses: doses on this side, besides 0
--   n: pairs with dose 0 over all of them
--   n_questions: questions among them
--   slope: mean over questions of the change of the outcome with a dose of 1
--   low: lower end of its 95% interval, Student t over questions (NULL with one question, or where they do not differ)
--   high: upper end
--   largest: largest mean difference to dose 0, by size
--   largest_dose: dose of it, the least one where several do as much
--   saturates_at: least dose whose mean difference is so much of `largest` as `thresholds` says, with its sign (NULL below three doses, and where nothing changes)
--   capability_lost_at: least dose at which the task's right answers fall by more than `thresholds` allows (NULL: none, or no task)
--   perplexity_beyond_at: least dose at which the perplexity of answers grows by more than it allows (NULL: none, or answers were given)
with asked as (
  select * replace (coalesce(persona, 'task') as persona), case when dose > 0 then 'more' else 'less' end as side from steering_outcomes
),
formed as (
  select * from asked
  union all
  select * replace ('all' as persona) from asked where outcome != 'capability'
),
questions as (
  select
    run_id,
    any_value(subject) as subject,
    any_value(checkpoint) as checkpoint,
    direction,
    any_value(kind) as kind,
    layer,
    mode,
    side,
    any_value(unit) as unit,
    persona,
    outcome,
    question_id,
    count(*) as n,
    sum(dose * difference) / sum(dose ** 2) as slope
  from formed
  group by run_id, direction, layer, mode, side, persona, outcome, question_id
),
slopes as (
  select
    run_id,
    any_value(subject) as subject,
    any_value(checkpoint) as checkpoint,
    direction,
    any_value(kind) as kind,
    layer,
    mode,
    side,
    any_value(unit) as unit,
    persona,
    outcome,
    sum(n)::bigint as n,
    count(*) as n_questions,
    avg(slope) as slope,
    nullif(stddev_samp(slope) / sqrt(count(*)), 0) as sem,
    case when count(*) > 1 then count(*) - 1 end as df
  from questions
  group by run_id, direction, layer, mode, side, persona, outcome
),
quantiles as (
  select df, student_t_quantile(0.975, df) as quantile from (select distinct df from slopes)
),
doses as (
  select
    run_id, direction, layer, mode, case when dose > 0 then 'more' else 'less' end as side, persona, outcome, dose, difference, nll_change, capability_change,
    first_value(difference) over (
      partition by run_id, direction, layer, mode, dose > 0, persona, outcome order by round(abs(difference), 12) desc nulls last, abs(dose)
    ) as largest
  from steering_changes
),
limits as (
  select
    ln(max(value) filter (name = 'steering_perplexity')) as nll,
    max(value) filter (name = 'steering_capability') as capability,
    max(value) filter (name = 'steering_saturation') as saturation
  from thresholds
),
reached as (
  select
    d.run_id,
    d.direction,
    d.layer,
    d.mode,
    d.side,
    d.persona,
    d.outcome,
    count(*) as n_doses,
    any_value(d.largest) as largest,
    arg_min(d.dose, abs(d.dose)) filter (d.difference = d.largest) as largest_dose,
    case
      when count(*) > 2
        then arg_min(d.dose, abs(d.dose)) filter (d.largest <> 0 and d.difference / d.largest >= l.saturation)
    end as saturates_at,
    arg_min(d.dose, abs(d.dose)) filter (d.capability_change < -l.capability) as capability_lost_at,
    arg_min(d.dose, abs(d.dose)) filter (d.nll_change > l.nll) as perplexity_beyond_at
  from doses as d
  cross join limits as l
  group by d.run_id, d.direction, d.layer, d.mode, d.side, d.persona, d.outcome
),
final as (
  select
    s.run_id,
    s.subject,
    s.checkpoint,
    s.direction,
    s.kind,
    s.layer,
    s.mode,
    s.side,
    s.unit,
    s.persona,
    s.outcome,
    r.n_doses,
    s.n,
    s.n_questions,
    s.slope,
    s.slope - s.sem * q.quantile as low,
    s.slope + s.sem * q.quantile as high,
    r.largest,
    r.largest_dose,
    r.saturates_at,
    r.capability_lost_at,
    r.perplexity_beyond_at
  from slopes as s
  join reached as r
    on r.run_id = s.run_id
    and r.direction = s.direction
    and r.layer is not distinct from s.layer
    and r.mode = s.mode
    and r.side = s.side
    and r.persona = s.persona
    and r.outcome = s.outcome
  left join quantiles as q on q.df = s.df
)
select * from final
