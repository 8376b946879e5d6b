-- task_accuracy: does the model do the task at all? Share of prompts whose next token is the target's first token: read it before any circuit of the task
-- grain: run_id, subject, stratum, prompt_form
-- source: own; Wilson interval over prompts, each prompt asked once
-- columns:
--   prompt_form: phrasing of the task, or all
--   n: prompts with a target
--   n_clusters: questions among them
--   n_correct: prompts whose top-1 token is the target's first token
--   accuracy: n_correct over n
--   accuracy_low: lower end of its 95% Wilson interval
--   accuracy_high: upper end
--   n_correct_normalised: prompts whose top-1 token is the target's first token but for spaces and capitals
--   accuracy_normalised: n_correct_normalised over n
--   n_several_tokens: prompts whose target takes several tokens; they are scored on the first
--   mean_target_prob: mean probability of the target's first token
--   passes: at least half of the prompts are right; a circuit of a task the model fails explains nothing
--   logit_error: largest distance between the target's logit and the sum of its components (NULL where none were computed)
with asked as (
  select * from predictions where target is not null
),
marked as (
  select *, correct or same_word(top1_token, target_token) as correct_normalised from asked
),
final as (
  select
    run_id,
    subject,
    any_value(checkpoint) as checkpoint,
    any_value(prompt_set) as prompt_set,
    stratum,
    case when grouping(prompt_form) = 1 then 'all' else prompt_form end as prompt_form,
    count(*) as n,
    count(distinct question_id) as n_clusters,
    count(*) filter (correct) as n_correct,
    n_correct / n as accuracy,
    wilson_low(n_correct, n) as accuracy_low,
    wilson_high(n_correct, n) as accuracy_high,
    count(*) filter (correct_normalised) as n_correct_normalised,
    n_correct_normalised / n as accuracy_normalised,
    count(*) filter (n_target_tokens > 1) as n_several_tokens,
    avg(target_prob) as mean_target_prob,
    2 * n_correct >= n as passes,
    max(logit_error) as logit_error
  from marked
  group by grouping sets ((run_id, subject, stratum, prompt_form), (run_id, subject, stratum))
)
select * from final
