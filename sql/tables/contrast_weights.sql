-- contrast_weights: weight of each query position in the mean over examples of marker minus control, so that one pass over the heads gives the mean
-- source: own: 1/n for a marker, minus its share of 1/n for a control position; the weighted sum of a fraction is the mean of its deltas
-- key: run_id, example_id, sample_ix, control, position
-- sort: control, example_id, sample_ix, position
-- rollup of: positions
with chosen as (
  select run_id, subject, persona, question_id, example_id, sample_ix, stratum, position from positions
),
markers as (
  select * from chosen where stratum = 'marker'
),
own as (
  select
    c.run_id,
    c.subject,
    c.example_id,
    c.sample_ix,
    c.stratum as control,
    c.position,
    m.position as t_marker,
    count(*) over (partition by c.run_id, c.subject, c.example_id, c.sample_ix, c.stratum) as n_positions
  from chosen as c
  join markers as m using (run_id, subject, example_id, sample_ix)
  where c.stratum in ('C1', 'C2', 'C3')
),
ends as (
  select run_id, subject, persona, question_id, count(*) as n_positions
  from chosen
  where stratum = 'C4'
  group by run_id, subject, persona, question_id
),
marked as (
  select run_id, subject, control, example_id, sample_ix, any_value(t_marker) as t_marker from own group by run_id, subject, control, example_id, sample_ix
  union all
  select m.run_id, m.subject, 'C4', m.example_id, m.sample_ix, m.position
  from markers as m
  join ends as e using (run_id, subject, persona, question_id)
),
sizes as (
  select run_id, subject, control, count(*) as n from marked group by run_id, subject, control
),
questions as (
  select m.run_id, m.subject, m.persona, m.question_id, count(*) as n_markers
  from markers as m
  group by m.run_id, m.subject, m.persona, m.question_id
),
terms as (
  select run_id, subject, control, example_id, sample_ix, t_marker as position, 1.0::double as share from marked
  union all
  select run_id, subject, control, example_id, sample_ix, position, -1.0::double / n_positions from own
  union all
  select c.run_id, c.subject, 'C4', c.example_id, c.sample_ix, c.position, -q.n_markers::double / e.n_positions
  from chosen as c
  join ends as e using (run_id, subject, persona, question_id)
  join questions as q using (run_id, subject, persona, question_id)
  where c.stratum = 'C4'
),
final as (
  select
    t.run_id,
    t.subject,
    t.control as control, -- control stratum: C1, C2, C3, C4
    t.example_id,
    t.sample_ix,
    t.position,
    sum(t.share) / any_value(s.n) as weight, -- what a fraction at this position is multiplied with
    any_value(s.n) as n -- examples with positions of this control
  from terms as t
  join sizes as s using (run_id, subject, control)
  group by t.run_id, t.subject, t.control, t.example_id, t.sample_ix, t.position
)
select * from final
