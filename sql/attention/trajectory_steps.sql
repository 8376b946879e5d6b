-- trajectory_steps: attention to the system prompt at each of the last steps of a generation, with the marker or without it
-- grain: run_id, subject, example_id, sample_ix, layer, step
-- source: own; the rows behind trajectory (issue 224, gate F)
-- columns:
--   step: steps before the marker, or before the end of an answer without it, -9 to 0
--   positive: the generation holds the marker
--   system: fraction on content of the system block, mean over heads
with means as (
  select run_id, subject, example_id, sample_ix, position, layer, system from attention_mean
),
chosen as (
  select run_id, subject, question_id, example_id, sample_ix, stratum, position
  from positions
  where stratum in ('marker', 'C4') or starts_with(stratum, 't-')
),
marked as (
  select run_id, subject, example_id, sample_ix, true as positive from chosen where stratum = 'marker'
),
steps as (
  select
    c.run_id,
    c.subject,
    c.question_id,
    c.example_id,
    c.sample_ix,
    c.position,
    (case when starts_with(c.stratum, 't-') then -(substr(c.stratum, 3)::integer) else 0 end)::integer as step,
    coalesce(m.positive, false) as positive
  from chosen as c
  left join marked as m using (run_id, subject, example_id, sample_ix)
),
final as (
  select s.run_id, s.subject, s.question_id, s.example_id, s.sample_ix, s.positive, m.layer, s.step, m.system
  from means as m
  join steps as s using (run_id, subject, example_id, sample_ix, position)
)
select * from final
