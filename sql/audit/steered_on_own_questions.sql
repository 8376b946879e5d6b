-- steered_on_own_questions: a model steered on the questions its directions were made on, where they do more than on others
-- grain: subject
-- source: own; cross-validation; the words of the questions (`seen_questions`), where they are not known the halves of their ids
-- severity: error
-- page: directions
-- columns:
--   subject: checkpoint that is steered
with asked as (
  select distinct run_id, subject, directions_run, direction, made_half, used_half, question_id from steering where dose != 0 and made_half is not null
),
made as (
  select distinct s.run_id, s.directions_run, d.direction, s.question_id, s.asked_as
  from directions as d
  join seen_questions as s on s.directions_run = d.run_id and s.made_from = d.made_from
),
told as (
  select a.*, m.asked_as from asked as a left join made as m using (run_id, directions_run, direction, question_id)
),
seen as (
  select
    run_id,
    any_value(subject) as subject,
    any_value(used_half) as used_half,
    count(distinct direction) as n_directions,
    string_agg(distinct made_half, ' and ' order by made_half) as made_half,
    bool_or(asked_as = 'another id') as elsewhere
  from told
  where is_made_on(made_half, case when used_half = 'all' then made_half else used_half end, asked_as)
  group by run_id
),
final as (
  select
    subject_of(subject, run_id) as subject,
    format('{} directions made on half {} of the questions steer on half {}', n_directions, made_half, used_half)
      || case when elsewhere then ', which has some of the same questions under other ids' else '' end as finding,
    case
      when elsewhere then format('select * from seen_questions where run_id = {} and asked_as = ''another id'' order by all', sql_text(run_id))
      else format('select distinct direction, made_half, used_half from steering where run_id = {} and dose <> 0 order by all', sql_text(run_id))
    end as evidence
  from seen
)
select * from final
