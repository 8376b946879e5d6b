-- drift: where prompts and answers lie along a direction, place by place, token by token of an answer and turn by turn of a conversation, with intervals over questions and beside control directions
-- grain: run_id, persona, condition, directions_run, direction, layer, site, stratum, step, turn, seen
-- source: persona drift over an answer and over a conversation after Chen et al. 2025 (arXiv 2507.21509) and Lu et al. 2026 (arXiv 2601.10387); intervals over questions and controls own
-- columns:
--   directions_run: run of the direction
--   direction: its name there; controls have rows too
--   kind: how it was made
--   stratum: answer or prompt (every token of it), last, last_system, marker, answer_mean, or turn_mean (one answer of a conversation)
--   step: number of the token within the answer or prompt, from 0 (NULL at other places)
--   turn: number of the exchange of a conversation, from 0 (NULL at other places)
--   seen: whether the direction was made on the questions that are read, which makes its projections larger than they are on new ones: by their words where both
--     runs tell them (`seen_questions`), else by the halves of their ids
--   mean: mean projection on the direction of length 1, in units of the activations: over repeats, then over questions
--   low: lower end of its 95% interval, Student t over questions (NULL with one question)
--   high: upper end
--   change: mean over questions of the difference to the mean of the first 8 tokens of the same text, or to the first answer of the same conversation, paired:
--     answers and conversations that end early change nothing (NULL at other places)
--   change_low: lower end of its 95% interval, Student t over questions
--   change_high: upper end
--   mean_norm: mean length of the activations
--   n: prompts or answers read
--   n_questions: questions among them
--   n_controls: control directions that were read at the same place (NULL of a control itself)
--   control_low: 2.5% quantile of the means of these control directions
--   control_high: 97.5% quantile; a mean outside is unusual for a direction without meaning
with made as (
  select distinct d.run_id as directions_run, d.direction, s.run_id, s.question_id, s.asked_as
  from directions as d
  join seen_questions as s on s.directions_run = d.run_id and s.made_from = d.made_from
),
found as (
  select
    p.*,
    is_made_on(p.made_on, p.half, m.asked_as) as seen,
    p.kind in ('random', 'random_in_span', 'shuffled') as is_control
  from projections as p
  left join made as m
    on p.made_on is not null
    and m.run_id = p.run_id
    and m.directions_run = p.directions_run
    and m.direction = p.direction
    and m.question_id = p.question_id
),
beginnings as (
  select run_id, example_id, sample_ix, directions_run, direction, layer, site, stratum, avg(value) as beginning
  from found
  where step < 8 or turn = 0
  group by all
),
read as (
  select f.*, f.value - b.beginning as moved
  from found as f
  left join beginnings as b
    on coalesce(f.step, f.turn) is not null
    and b.run_id = f.run_id
    and b.example_id = f.example_id
    and b.sample_ix is not distinct from f.sample_ix
    and b.directions_run = f.directions_run
    and b.direction = f.direction
    and b.layer = f.layer
    and b.site = f.site
    and b.stratum = f.stratum
),
questions as (
  select
    run_id,
    any_value(subject) as subject,
    any_value(checkpoint) as checkpoint,
    persona,
    condition,
    directions_run,
    direction,
    any_value(kind) as kind,
    any_value(is_control) as is_control,
    layer,
    site,
    stratum,
    step,
    turn,
    seen,
    question_id,
    avg(value::double) as value,
    avg(moved) as moved,
    avg(activation_norm::double) as norm,
    count(*) as n
  from read
  group by run_id, persona, condition, directions_run, direction, layer, site, stratum, step, turn, seen, question_id
),
means as (
  select
    run_id,
    any_value(subject) as subject,
    any_value(checkpoint) as checkpoint,
    persona,
    condition,
    directions_run,
    direction,
    any_value(kind) as kind,
    any_value(is_control) as is_control,
    layer,
    site,
    stratum,
    step,
    turn,
    seen,
    avg(value) as mean,
    half_width(stddev_samp(value) / sqrt(count(*)), count(*)) as reach,
    avg(moved) as change,
    half_width(stddev_samp(moved) / sqrt(count(*)), count(*)) as change_reach,
    avg(norm) as mean_norm,
    sum(n)::bigint as n,
    count(*) as n_questions
  from questions
  group by run_id, persona, condition, directions_run, direction, layer, site, stratum, step, turn, seen
),
controls as (
  select
    run_id,
    persona,
    condition,
    directions_run,
    layer,
    site,
    stratum,
    step,
    turn,
    count(*) as n_controls,
    quantile_cont(mean, 0.025) as control_low,
    quantile_cont(mean, 0.975) as control_high
  from means
  where is_control and not seen
  group by run_id, persona, condition, directions_run, layer, site, stratum, step, turn
),
final as (
  select
    m.run_id,
    m.subject,
    m.checkpoint,
    m.persona,
    m.condition,
    m.directions_run,
    m.direction,
    m.kind,
    m.layer,
    m.site,
    m.stratum,
    m.step,
    m.turn,
    m.seen,
    m.mean,
    m.mean - m.reach as low,
    m.mean + m.reach as high,
    m.change,
    m.change - m.change_reach as change_low,
    m.change + m.change_reach as change_high,
    m.mean_norm,
    m.n,
    m.n_questions,
    case when not m.is_control then coalesce(c.n_controls, 0) end as n_controls,
    case when not m.is_control then c.control_low end as control_low,
    case when not m.is_control then c.control_high end as control_high
  from means as m
  left join controls as c
    on c.run_id = m.run_id
    and c.persona is not distinct from m.persona
    and c.condition is not distinct from m.condition
    and c.directions_run = m.directions_run
    and c.layer = m.layer
    and c.site = m.site
    and c.stratum = m.stratum
    and c.step is not distinct from m.step
    and c.turn is not distinct from m.turn
)
select * from final
