-- task_failed: circuits of a task that the model does not do: fewer than half of its prompts are answered right
-- grain: subject
-- source: own; a part that is needed for a wrong answer explains no ability
-- severity: error
-- page: circuits
-- columns:
--   subject: checkpoint plus whose tokens it read, the prompts, and the form they were read in where that was chosen
with forms as (
  select run_id, any_value(trim(value, '"')) as form from parameters where name = 'form' group by run_id
),
accuracies as (
  select a.*, f.form
  from task_accuracy as a
  left join forms as f using (run_id)
  where a.prompt_form = 'all' and a.stratum = 'last'
),
failed as (
  select
    *,
    string_agg(sql_text(run_id), ', ') over (readings rows between unbounded preceding and unbounded following) as runs,
    row_number() over readings as place
  from accuracies
  where not passes
  window readings as (partition by subject, prompt_set, form order by run_id)
),
final as (
  select
    concat_ws(', ', subject, prompt_set, form) as subject,
    format(
      'the target is the next token at {} of {} prompts ({:.0f}%, 95% interval {:.0f}% to {:.0f}%): its circuits explain nothing',
      n_correct,
      n,
      100 * accuracy,
      100 * accuracy_low,
      100 * accuracy_high
    ) as finding,
    format(
      'select prompt_form, target, top1_token, target_rank from predictions where run_id in ({}) and not correct order by target, prompt_form', runs
    ) as evidence
  from failed
  where place = 1
)
select * from final
