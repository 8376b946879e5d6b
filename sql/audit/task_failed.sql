-- task_failed: circuits of a task that the model does not do: fewer than half of its prompts are answered right
-- grain: subject
-- source: own; a part that is needed for a wrong answer explains no ability
-- severity: error
-- page: circuits
-- columns:
--   subject: checkpoint plus whose tokens it read, and the prompts
with accuracies as (
  select * from task_accuracy where prompt_form = 'all' and stratum = 'last'
),
failed as (
  select * from accuracies where not passes qualify row_number() over (partition by subject, prompt_set order by run_id) = 1
),
final as (
  select
    concat_ws(', ', subject, prompt_set) as subject,
    format(
      'the target is the next token at {} of {} prompts ({:.0f}%, 95% interval {:.0f}% to {:.0f}%): its circuits explain nothing',
      n_correct,
      n,
      100 * accuracy,
      100 * accuracy_low,
      100 * accuracy_high
    ) as finding,
    format(
      'select prompt_form, target, top1_token, target_rank from predictions where run_id = {} and not correct order by target, prompt_form', sql_text(run_id)
    ) as evidence
  from failed
)
select * from final
