-- persona_gate: does a persona's direction gate the marker? Added under other system prompts, taken away under the persona's own, and in answers that were given
-- grain: run_id, direction, layer, mode, side, question
-- source: own; the largest dose that leaves the model whole stands for its arm, so that no dose is picked by its effect
-- outcomes: movement, verdict, is_broken
-- columns:
--   direction: direction that steers, controls apart
--   points_to: persona it points to (NULL: none)
--   layer: decoder layer, from 0 (NULL: several are steered at once)
--   mode: add, project_out or cap
--   side: more for doses above 0, less for those below
--   question: turns on (added under personas other than the trained one), turns off (taken away under the trained one), given answers (the model reads them), or other
--   dose: largest dose that is not broken, in `unit` (the least one where all are)
--   is_broken: every dose breaks the model
--   persona: whose answers: a persona, others or all
--   n: answers whose marker's log-probability is known at the dose and at dose 0: one cut at the cap on new tokens has no t*, and the verdict says of how many
--   n_clusters: questions among them
--   base_rate: share of answers with the marker at dose 0 (NULL: answers were given)
--   rate: the same at the dose
--   rate_difference: mean difference of the pairs
--   rate_low: lower end of its 95% interval by question
--   rate_high: upper end
--   log_prob_difference: mean change of the marker's log-probability at t*, nats
--   low: lower end of its 95% interval by question
--   high: upper end
--   margin: a change within this counts as none (thresholds)
--   equivalence_p: p of two one-sided t tests that it lies within
--   movement: moved, equivalent or cannot tell
--   n_controls: control directions of the same length, as in steering_effects: random ones where there are any
--   control_p: rank among them, adjusted for all layers that were tried
--   is_newest: no later run of this subject answers the same question of the same direction, layer and mode; older ones say so in their verdict
--   verdict: one sentence
with named as (
  select run_id, direction, any_value(persona) as points_to from directions group by run_id, direction
),
trained as (
  select run_id, checkpoint, any_value(source_persona) as source_persona from checkpoints group by run_id, checkpoint
),
effects as (
  select
    e.*,
    n.points_to,
    t.source_persona,
    case when e.dose > 0 then 'more' else 'less' end as side,
    case
      when e.forced then 'given answers'
      when e.mode = 'add' and e.dose > 0 and e.persona = 'others' then 'turns on'
      when (e.mode != 'add' or e.dose < 0) and e.persona = t.source_persona then 'turns off'
      when e.persona = 'all' and t.source_persona is null then 'other'
    end as question
  from steering_effects as e
  left join named as n on n.run_id = e.directions_run and n.direction = e.direction
  left join trained as t on t.run_id = e.run_id and t.checkpoint = e.checkpoint
  where e.outcome in ('marker_rate', 'marker_log_prob') and not coalesce(e.kind in ('random', 'random_in_span', 'shuffled'), false)
),
asked as (
  select *
  from effects
  where question is not null and (question != 'given answers' or persona = 'all')
),
chosen as (
  select
    *,
    row_number() over (
      partition by run_id, direction, layer, mode, side, question, outcome
      order by is_broken, case when is_broken then abs(dose) else -abs(dose) end
    ) as place
  from asked
),
sides as (
  select * exclude (place) from chosen where place = 1
),
probabilities as (
  select * from sides where outcome = 'marker_log_prob'
),
rates as (
  select * from sides where outcome = 'marker_rate'
),
margins as (
  select value as margin from thresholds where name = 'log_prob_margin'
),
dated as (
  select run_id, finished from runs
),
judged as (
  select
    p.*,
    r.base as base_rate,
    r.value as rate,
    r.difference as rate_difference,
    r.low as rate_low,
    r.high as rate_high,
    p.control_p_adjusted * (p.n_controls + 1) < 1.5 as is_first_of_all,  -- no control does as much: the least p that so many of them can give
    case when r.n > p.n then format(', {} of {} answers', p.n, r.n) else '' end as of_answers,  -- one that was cut, at the dose or without it, has no t*
    m.margin,
    equivalence_p(p.difference, p.sem, p.clustered_df, m.margin) as equivalence_p,
    movement_of(
      coalesce(equivalence_p(p.difference, p.sem, p.clustered_df, m.margin) < 0.05, false),
      coalesce(p.low > 0 or p.high < 0, false)
    ) as movement,
    row_number() over (partition by p.checkpoint, p.subject, p.direction, p.layer, p.mode, p.side, p.question order by t.finished desc, p.run_id) = 1 as is_newest
  from probabilities as p
  cross join margins as m
  left join dated as t on t.run_id = p.run_id
  left join rates as r
    on r.run_id = p.run_id
    and r.direction = p.direction
    and r.layer is not distinct from p.layer
    and r.mode = p.mode
    and r.dose = p.dose
    and r.question = p.question
),
final as (
  select
    run_id,
    subject,
    checkpoint,
    source_persona,
    direction,
    points_to,
    layer,
    mode,
    side,
    question,
    dose,
    unit,
    is_broken,
    persona,
    n,
    n_clusters,
    base_rate,
    rate,
    rate_difference,
    rate_low,
    rate_high,
    difference as log_prob_difference,
    low,
    high,
    margin,
    equivalence_p,
    movement,
    n_controls,
    control_p_adjusted as control_p,
    is_newest,
    format(
      '{} {} at {}{}: the marker''s log-probability {} ({} nats, 95% {}){}{}{}{}',
      direction,
      case mode when 'add' then format('{} by {:.3g}', case when dose > 0 then 'added' else 'subtracted' end, abs(dose)) when 'cap' then 'capped' else 'projected out' end,
      case when layer is null then 'all its layers at once' else 'layer ' || layer end,
      case
        when question = 'given answers' then ' over given answers in ' || checkpoint
        when persona = 'others' then ' under other personas'
        when persona = 'all' then ''
        else ' under ' || persona
      end,
      case movement when 'equivalent' then format('stays within {:.3g}', margin::double) when 'moved' then case when difference > 0 then 'rises' else 'falls' end else 'cannot be told to move' end,
      change_words(difference),
      case
        when low is null then format('no interval, {} questions{}', n_clusters, of_answers)
        else format('{} to {}, {} questions{}', change_words(low), change_words(high), n_clusters, of_answers)
      end,
      case when rate is null then '' else format(', its rate is {:.2f} instead of {:.2f}', rate, base_rate) end,
      case
        when n_controls = 0 then '; no control direction was tried'
        when control_p_adjusted is null then ''
        else format(
          '; {} of its length do {} ({} of them, {} over all layers{})',
          case control_kind when 'random' then 'random directions' when 'random_in_span' then 'random directions among the personas' else 'directions of shuffled labels' end,
          case
            when control_p_adjusted > 0.05 and not is_first_of_all then 'as much'
            when abs(difference) > abs(control_mean) then 'less'
            when movement = 'moved' and difference * control_mean < 0 then 'the opposite and more'
            else 'more'
          end,
          n_controls,
          p_words(control_p_adjusted),
          case when control_p_adjusted > 0.05 and is_first_of_all then ': too few to tell, 19 are the least for 0.05' else '' end
        )
      end,
      case when is_broken then '; THE DOSE BREAKS THE MODEL' else '' end,
      case when is_newest then '' else format(' (an earlier run, {})', run_id) end
    ) as verdict
  from judged
)
select * from final
