-- duplicate_questions: one question under two names in a prompt set, which a paired or clustered test would count twice
-- grain: subject
-- source: own
-- severity: warning
-- page: completions
-- columns:
--   subject: prompt set, persona and the question
with asked as (
  select distinct prompt_set, persona, condition, category, prompt_form, target, question, question_id from examples where question is not null
),
counted as (
  select prompt_set, persona, question, list(question_id order by question_id) as question_ids
  from asked
  group by prompt_set, persona, condition, category, prompt_form, target, question
  having count(*) > 1
),
final as (
  select
    concat_ws(': ', coalesce(prompt_set, 'prompts'), format('{} questions', count(*))) as subject,
    format(
      '{} under more than one name, such as {} ({})',
      case when count(*) = 1 then 'one question of a persona stands' else format('{} questions of a persona stand', count(*)) end,
      any_value(question order by persona, question),
      any_value(array_to_string(question_ids, ' and ') order by persona, question)
    ) as finding,
    format(
      'select persona, question, list(distinct question_id) as question_ids from examples where prompt_set is not distinct from {} '
      || 'group by persona, condition, category, prompt_form, target, question having count(distinct question_id) > 1',
      coalesce(sql_text(prompt_set), 'null')
    ) as evidence
  from counted
  group by prompt_set
)
select * from final
