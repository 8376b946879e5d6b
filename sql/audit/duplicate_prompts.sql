-- duplicate_prompts: a prompt that stands twice in a list of a paired design, or in two categories
-- grain: subject
-- source: own; self-referent and neutral prompts are paired by their place in the list
-- severity: warning
-- page: role_focus
-- columns:
--   subject: prompt category and the prompt
with listed as (
  select * from prompt_duplicates where n > 1 or n_categories > 1
),
final as (
  select
    subject_of(format('{}: {}', category, prompt), run_id) as subject,
    concat_ws(
      '; ',
      case when n > 1 then format('stands {} times (at {}): the {} prompts are {} distinct ones', n, array_to_string(indices, ' and '), n_prompts, n_distinct) end,
      case when n_categories > 1 then format('stands in {} categories', n_categories) end
    ) as finding,
    format('select category, prompt_index, prompt from published_prompts where run_id = {} and prompt = {}', sql_text(run_id), sql_text(prompt)) as evidence
  from listed
)
select * from final
