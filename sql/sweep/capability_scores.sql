-- capability_scores: share of a task's questions that a checkpoint answers right, beside what its parent reaches
-- grain: run_id, task
-- source: multiple choice by log-probability as in lm-evaluation-harness (acc and acc_norm); Wilson (1927); interval by question as in macros/rates.sql; McNemar's exact test (sign test of discordant questions) against the parent
-- columns:
--   n: questions
--   k: right by the summed log-probability
--   accuracy: k over n
--   accuracy_normalised: share right by the log-probability per character
--   wilson_low: lower end of Wilson's 95% interval of accuracy
--   wilson_high: upper end
--   clustered_low: lower end of its 95% interval by question, each asked once: Wilson's with Student's t on n - 1 degrees of freedom
--   clustered_high: upper end
--   at_most: one-sided 95% upper bound: what is known where none was right
--   parent: checkpoint it was trained from
--   parent_accuracy: accuracy of the parent on the same questions (NULL where it was not asked)
--   n_lost: questions that the parent answers right and this checkpoint does not
--   n_gained: the other way round
--   p: two-sided p of n_lost against n_gained under equal chances, exact binomial
with trained as (
  select run_id, checkpoint, parent, id from checkpoints
),
rows_of as (
  select a.run_id, a.checkpoint, a.task, a.question_id, a.correct, a.correct_normalised, t.parent, t.id
  from capability as a
  left join trained as t using (run_id, checkpoint)
),
-- one run per checkpoint id and task: the same question answered in two runs of one checkpoint gives one answer
parents as (
  select id, task, question_id, bool_or(correct) as correct
  from rows_of
  where (id, task, run_id) in (select id, task, min(run_id) from rows_of group by id, task)
  group by id, task, question_id
),
paired as (
  select r.*, p.correct as parent_correct
  from rows_of as r
  left join parents as p on p.id = r.parent and p.task = r.task and p.question_id = r.question_id
),
counted as (
  select
    run_id,
    any_value(checkpoint) as checkpoint,
    task,
    count(*) as n,
    count(*) filter (correct) as k,
    avg(correct::integer) as accuracy,
    avg(correct_normalised::integer) as accuracy_normalised,
    any_value(parent) as parent,
    avg(parent_correct::integer) as parent_accuracy,
    case when count(parent_correct) > 0 then count(*) filter (parent_correct and not correct) end as n_lost,
    case when count(parent_correct) > 0 then count(*) filter (correct and not parent_correct) end as n_gained
  from paired
  group by run_id, task
),
levels as (
  select n, max(t) as two_sided, min(t) as one_sided
  from (
    select n, student_t_quantile(level, greatest(1, n - 1)) as t
    from (select distinct n, unnest([0.975, 0.95]) as level from counted)
  )
  group by n
),
final as (
  select
    run_id,
    checkpoint,
    task,
    n,
    k,
    accuracy,
    accuracy_normalised,
    wilson_low(k, n) as wilson_low,
    wilson_high(k, n) as wilson_high,
    rate_low(accuracy, n, two_sided) as clustered_low,
    rate_high(accuracy, n, two_sided) as clustered_high,
    rate_high(accuracy, n, one_sided) as at_most,
    parent,
    parent_accuracy,
    n_lost,
    n_gained,
    case when n_lost + n_gained = 0 then 1 else sign_test_p(n_lost, n_lost + n_gained) end as p
  from counted
  join levels using (n)
)
select * from final
