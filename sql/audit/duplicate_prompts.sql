-- duplicate_prompts: a prompt that stands twice in a list of a paired design, or in two categories
-- grain: subject
-- source: own; self-referent and neutral prompts are paired by their place in the list
-- severity: warning
-- page: role_focus
-- columns:
--   subject: prompt category and the prompt
with listed as (
  select
    *,
    -- within a category of a prompt set it is a question under two names, which duplicate_questions tells
    n > 1 and origin = 'published' as is_repeated,
    n_categories > 1 as is_shared,
    case origin
      when 'published' then format('select category, prompt_index, prompt from published_prompts where run_id = {} and prompt = {}', sql_text(run_id), sql_text(prompt))
      else format('select category, question_id, question from examples where run_id = {} and question = {}', sql_text(run_id), sql_text(prompt))
    end as evidence
  from prompt_duplicates
  where (n > 1 and origin = 'published') or n_categories > 1
),
final as (
  select
    subject_of(format('{}: {}', category, prompt), run_id) as subject,
    concat_ws(
      '; ',
      case when is_repeated then format('stands {} times (at {}): the {} prompts are {} distinct ones', n, array_to_string(indices, ' and '), n_prompts, n_distinct) end,
      case when is_shared then format('stands in {} categories', n_categories) end
    ) as finding,
    evidence
  from listed
)
select * from final
