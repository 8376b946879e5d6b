-- projected_on_own_questions: a direction was read on the questions it was made on: its projections there are larger than on new questions
-- grain: subject
-- source: own; the words of the questions (`seen_questions`), where they are not known the halves of their ids
-- severity: warning
-- page: directions
-- columns:
--   subject: subject that was read
with made as (
  select distinct s.run_id, s.directions_run, d.direction, s.question_id, s.asked_as
  from directions as d
  join seen_questions as s on s.directions_run = d.run_id and s.made_from = d.made_from
),
found as (
  select p.run_id, any_value(p.subject) as subject, count(distinct p.question_id) as n_questions, count(distinct p.direction) as n_directions
  from (select distinct run_id, subject, directions_run, direction, made_on, half, question_id from projections where made_on is not null) as p
  left join made as m using (run_id, directions_run, direction, question_id)
  where is_made_on(p.made_on, p.half, m.asked_as)
  group by p.run_id
),
worst as (
  select *, row_number() over (partition by subject order by n_questions desc, run_id) as place from found
),
final as (
  select
    subject,
    format('{} directions were read on {} of the questions they were made on', n_directions, n_questions) as finding,
    format('select persona, direction, layer, stratum, n_questions, mean from drift where run_id = {} and seen and step is null order by all', sql_text(run_id)) as evidence
  from worst
  where place = 1
)
select * from final
