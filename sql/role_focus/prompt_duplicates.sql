-- prompt_duplicates: prompts that stand more than once in a list of prompts by category, within a category or in several
-- grain: run_id, category, prompt
-- source: own; a repeated prompt of a paired design counts one input twice
-- columns:
--   prompt_set: name and version of the prompt set (NULL for a published list); one run stands for all that read the same set
--   origin: extracted or published
--   category: prompt category
--   prompt: text of the prompt
--   n: times it stands in the category
--   indices: its positions in the category's list, from 0 (of a prompt set in the order of question_id)
--   n_categories: categories that hold it
--   n_prompts: prompts of the category
--   n_distinct: distinct texts among them
with published as (
  select run_id, category, prompt_index, prompt from published_prompts
),
examples_read as (
  select distinct run_id, prompt_set, category, question_id, question as prompt from examples where category is not null and question is not null
),
one_run as (
  select *, dense_rank() over (partition by coalesce(prompt_set, run_id) order by run_id) as run_number from examples_read
),
prompts as (
  select run_id, null::varchar as prompt_set, 'published' as origin, category, prompt_index, prompt from published
  union all
  select
    run_id,
    prompt_set,
    'extracted',
    category,
    (row_number() over (partition by run_id, category order by question_id, prompt) - 1)::integer,
    prompt
  from one_run
  where run_number = 1
),
counted as (
  select run_id, any_value(prompt_set) as prompt_set, origin, category, prompt, count(*) as n, list(prompt_index order by prompt_index) as indices
  from prompts
  group by run_id, origin, category, prompt
),
placed as (
  select
    run_id,
    prompt_set,
    origin,
    category,
    prompt,
    n,
    indices,
    count(*) over (partition by run_id, prompt) as n_categories,
    sum(n) over (partition by run_id, category)::bigint as n_prompts,
    count(*) over (partition by run_id, category) as n_distinct
  from counted
),
final as (
  select * from placed where n > 1 or n_categories > 1
)
select * from final
