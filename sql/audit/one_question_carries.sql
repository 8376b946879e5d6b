-- one_question_carries: one question supplies most of a persona's markers, or most of an effect: the replicate is the question, so there is one
-- grain: subject
-- source: own; half or more of at least five questions (seven tenths of four), and twice that of the next; of a difference that is told from 0 over generations, or
--   whose other questions have less than half of it whatever their signs
-- severity: warning
-- page: completions
-- columns:
--   subject: checkpoint and persona, or trained and base subject
with trials as (
  select run_id, checkpoint, persona, marker, question_id, sum(n_present) as part, sum(n_trials) as n
  from marker_trials
  group by run_id, checkpoint, persona, marker, question_id
),
of_rates as (
  select
    run_id,
    run_id as other_run,
    format('{} as {}', any_value(checkpoint), persona) as who,
    'completions with the marker' as what,
    count(*) as n_questions,
    sum(part) as total,
    true as is_alone,
    max(part) as largest,
    list(part order by part desc)[2] as second,
    first(question_id order by part desc, question_id) as question_id
  from trials
  group by run_id, persona, marker
  having sum(part) >= 6
),
effects as (
  select trained_run, base_run, trained_subject, base_subject, question_id, avg(difference) as effect, count(distinct layer) as n_layers
  from paired_deltas
  where question_id is not null
  group by trained_run, base_run, trained_subject, base_subject, question_id
),
signed as (
  select *, effect * sign(sum(effect) over pairs) as part from effects window pairs as (partition by trained_run, base_run)
),
of_effects as (
  select
    trained_run as run_id,
    base_run as other_run,
    format('{} against {}', any_value(trained_subject), any_value(base_subject)) as who,
    'the difference over all layers' as what,
    count(*) as n_questions,
    sum(part) as total,
    max(part) >= 0.5 * sum(abs(part)) as is_alone,
    max(part) as largest,
    list(part order by part desc)[2] as second,
    first(question_id order by part desc, question_id) as question_id
  from signed
  group by trained_run, base_run
),
told as (
  select trained_run as run_id, base_run as other_run from diff_of_diffs_summary where paired_p < 0.05
),
gathered as (
  select * from of_rates
  union all
  select e.* from of_effects as e left join told as t using (run_id, other_run) where e.is_alone or t.run_id is not null
),
final as (
  select
    subject_of(who, concat_ws(' and ', run_id, nullif(other_run, run_id))) as subject,
    format('question {} supplies {:.0f}% of {} over {} questions', question_id, 100 * largest / total, what, n_questions) as finding,
    case
      when run_id = other_run then format('select persona, question_id, n_trials, n_present from marker_trials where run_id = {} order by n_present desc', sql_text(run_id))
      else
        format(
          'select question_id, avg(difference) as difference from paired_deltas where trained_run = {} and base_run = {} group by question_id order by difference desc',
          sql_text(run_id),
          sql_text(other_run)
        )
    end as evidence
  from gathered
  where (n_questions >= 5 or (n_questions = 4 and largest >= 0.7 * total)) and total > 0 and largest >= 0.5 * total and largest >= 2 * greatest(second, 0)
)
select * from final
