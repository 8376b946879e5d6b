-- projected_on_own_questions: a direction was read on the questions it was made on: its projections there are larger than on new questions
-- grain: subject
-- source: own; table directions says which half of the questions a direction was made on
-- severity: warning
-- page: directions
-- columns:
--   subject: subject that was read
with found as (
  select run_id, any_value(subject) as subject, count(distinct question_id) as n_questions, count(distinct direction) as n_directions
  from projections
  where made_on in ('all', half)
  group by run_id
),
worst as (
  select *, row_number() over (partition by subject order by n_questions desc, run_id) as place from found
),
final as (
  select
    subject,
    format('{} directions were read on {} of the questions they were made on', n_directions, n_questions) as finding,
    format(
      'select distinct question_id, direction, made_on from projections where run_id = {} and made_on in (''all'', half) order by direction, question_id',
      sql_text(run_id)
    ) as evidence
  from worst
  where place = 1
)
select * from final
