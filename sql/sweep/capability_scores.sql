-- capability_scores: share of a task's questions that a checkpoint answers right, beside what its parent reaches
-- grain: run_id, task
-- source: multiple choice by log-probability as in lm-evaluation-harness (acc and acc_norm); Wilson (1927); interval by question as in macros/rates.sql;
--   McNemar's exact test (sign test of discordant questions) against the parent; the interval of the paired difference is Bonett and Price's (2012), which adds half a question to each of the four cells
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
--   parent_run: the run of it that is beside: of several the one asked most alike (form and system prompt, then rounding of weights, precision), and of those the newest
--   parent_accuracy: accuracy of the parent on the same questions (NULL where it was not asked)
--   n_paired: questions that the parent was asked, too
--   difference: accuracy minus parent_accuracy over those, paired by question (NULL where there are none)
--   difference_low: lower end of its 95% interval
--   difference_high: upper end
--   n_lost: questions that the parent answers right and this checkpoint does not
--   n_gained: the other way round
--   p: two-sided p of n_lost against n_gained under equal chances, exact binomial
with trained as (
  select run_id, checkpoint, parent, id, rounding_of(quantisation) as rounded from checkpoints
),
made as (
  select run_id, finished, concat_ws(' ', dtype, attention_implementation) as kernel from runs
),
forms as (
  select
    run_id,
    [max(plain_value(value)) filter (name = 'form'), max(plain_value(value)) filter (name = 'system_prompt')] as form
  from parameters
  where name in ('form', 'system_prompt')
  group by run_id
),
asked as (
  select a.run_id, a.checkpoint, a.task, t.parent, t.id, t.rounded, m.finished, m.kernel, f.form
  from (select distinct run_id, checkpoint, task from capability) as a
  left join trained as t using (run_id, checkpoint)
  left join made as m using (run_id)
  left join forms as f using (run_id)
),
parents as (
  select * from lineage
),
-- of several runs of the parent the one that was asked most alike, and of those the newest
beside as (
  select c.run_id, c.task, p.run_id as parent_run, c.parent
  from asked as c
  left join parents as l on l.checkpoint = c.checkpoint and l.parent = c.parent
  left join asked as p on p.checkpoint = l.parent_checkpoint and p.id is not distinct from l.parent_id and p.task = c.task
  qualify
    row_number() over (
      partition by c.run_id, c.task
      order by
        p.run_id is not null desc,
        l.is_exact desc,
        p.form is not distinct from c.form desc,
        p.rounded is not distinct from c.rounded desc,
        p.kernel is not distinct from c.kernel desc,
        p.finished desc,
        p.run_id
    ) = 1
),
paired as (
  select a.run_id, a.checkpoint, a.task, a.correct, a.correct_normalised, b.parent, b.parent_run, p.correct as parent_correct
  from capability as a
  left join beside as b using (run_id, task)
  left join capability as p on p.run_id = b.parent_run and p.task = a.task and p.question_id = a.question_id
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
    any_value(parent_run) as parent_run,
    avg(parent_correct::integer) as parent_accuracy,
    count(parent_correct) as n_paired,
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
    parent_run,
    parent_accuracy,
    n_paired,
    (n_gained - n_lost) / nullif(n_paired, 0) as difference,
    case when n_paired > 0 then paired_rate_centre(n_gained, n_lost, n_paired) - paired_rate_reach(n_gained, n_lost, n_paired) end as difference_low,
    case when n_paired > 0 then paired_rate_centre(n_gained, n_lost, n_paired) + paired_rate_reach(n_gained, n_lost, n_paired) end as difference_high,
    n_lost,
    n_gained,
    case when n_lost + n_gained = 0 then 1 else sign_test_p(n_lost, n_lost + n_gained) end as p
  from counted
  join levels using (n)
)
select * from final
