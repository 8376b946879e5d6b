-- Prompts that stand more than once in a list, within a category or in several.
select prompt_set, origin, category, prompt, n, n_categories, n_prompts, n_distinct
from prompt_duplicates
order by prompt_set, category, prompt
