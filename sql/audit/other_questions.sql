-- other_questions: cells or personas that are compared were asked other questions
-- grain: subject
-- source: own; questions without regard to case and punctuation, by their number where their text is not known
-- severity: warning
-- page: completions
-- columns:
--   subject: checkpoint and persona, or the two checkpoints
with worded as (
  select run_id, persona, question_id, any_value(question) as question from examples where question is not null group by run_id, persona, question_id
),
asked as (
  select distinct c.run_id, c.checkpoint, c.persona, coalesce(folded(w.question), c.question_id) as question
  from (select distinct run_id, checkpoint, persona, question_id from completions) as c
  left join worded as w using (run_id, persona, question_id)
),
sets as (
  select run_id, checkpoint, persona, list_sort(list(question)) as questions from asked group by run_id, checkpoint, persona
),
usual as (
  select run_id, mode(questions) as questions, max(len(questions)) as n from sets group by run_id
),
of_persona as (
  select
    s.run_id,
    s.run_id as other_run,
    format('{} as {}', s.checkpoint, s.persona) as who,
    'of the run' as whose,
    len(list_filter(s.questions, lambda each: not list_contains(u.questions, each))) as n_other,
    len(list_filter(u.questions, lambda each: not list_contains(s.questions, each))) as n_missing,
    len(u.questions) as n
  from sets as s
  join usual as u using (run_id)
  where s.questions <> u.questions
),
of_run as (
  select run_id, any_value(checkpoint) as checkpoint, list_sort(list(distinct question)) as questions from asked group by run_id
),
of_cell as (
  select
    c.run_id,
    c.other_run,
    format('{} against {}', c.checkpoint, c.other_checkpoint) as who,
    format('of {}', c.other_checkpoint) as whose,
    len(list_filter(a.questions, lambda each: not list_contains(b.questions, each))) as n_other,
    len(list_filter(b.questions, lambda each: not list_contains(a.questions, each))) as n_missing,
    len(b.questions) as n
  from compared_runs as c
  join of_run as a using (run_id)
  join of_run as b on b.run_id = c.other_run
  where c.extractor in ('completions', 'brought')
),
cells as (
  select
    *,
    count(*) over runs as n_compared,
    count(*) filter (n_other + n_missing > 0) over runs as n_unlike,
    row_number() over (partition by run_id order by n_other + n_missing desc, other_run) as place
  from of_cell
  window runs as (partition by run_id)
),
gathered as (
  select * from of_persona
  union all
  select run_id, other_run, who, whose, n_other, n_missing, n from cells where place = 1 and 2 * n_unlike >= n_compared
),
final as (
  select
    subject_of(who, concat_ws(' and ', run_id, nullif(other_run, run_id))) as subject,
    format('{} of its questions are not among the {} {}, {} of those were not asked', n_other, n, whose, n_missing) as finding,
    format(
      'select run_id, persona, question_id, question from examples where run_id in ({}, {}) order by persona, question_id', sql_text(run_id), sql_text(other_run)
    ) as evidence
  from gathered
  where n_other + n_missing >= greatest(1, 0.1 * n)
)
select * from final
