-- task_accuracy: does the model do the task at all? Share of prompts whose next token is the target's first token: read it before any circuit of the task
-- grain: run_id, subject, stratum, prompt_form
-- source: own; Wilson interval over prompts, each prompt asked once; interval by question as in macros/rates.sql, the forms of one readout as a family
-- columns:
--   prompt_form: phrasing of the task, or all
--   n: prompts with a target
--   n_clusters: questions among them
--   n_correct: prompts whose top-1 token is the target's first token
--   accuracy: n_correct over n
--   accuracy_low: lower end of its 95% Wilson interval
--   accuracy_high: upper end
--   clustered_low: lower end of its 95% interval by question, the forms of one question going together: Wilson's on n_effective, t over questions
--   clustered_high: upper end
--   n_effective: prompts over their design effect
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
of_forms as (
  select run_id, subject, stratum, prompt_form as form, question_id, correct from marked
  union all
  select run_id, subject, stratum, 'all', question_id, correct from marked
),
questions as (
  select run_id, subject, stratum, form, question_id, count(*) as n, count(*) filter (correct) as n_correct
  from of_forms
  group by run_id, subject, stratum, form, question_id
),
centred as (
  select *, sum(n_correct) over of_form / sum(n) over of_form as rate, n / sum(n) over of_form as share
  from questions
  window of_form as (partition by run_id, subject, stratum, form)
),
told as (
  select
    run_id,
    subject,
    stratum,
    form,
    sum(n) as n_prompts,
    count(*) as n_questions,
    any_value(rate) as rate,
    sum(n ** 2) as sizes,
    n_informative(n_correct, n) as n_informative,
    coalesce(cr2_df(share), 1) as t_df,
    rate_icc(sum(n), any_value(rate), count(*), cr2_squares(n, n_correct, rate, share), sum(n ** 2)) as icc
  from centred
  group by run_id, subject, stratum, form
),
sized as (
  select
    *,
    n_effective(n_prompts, sizes, settled_icc(icc, n_informative, prior_icc(icc, n_informative, (run_id, subject, stratum, form = 'all')))) as n_effective
  from told
),
levels as (
  select t_df, student_t_quantile(0.975, t_df) as t from (select distinct t_df from sized)
),
bounded as (
  select
    s.run_id,
    s.subject,
    s.stratum,
    s.form,
    s.n_effective,
    rate_low(s.rate, s.n_effective, l.t) as clustered_low,
    rate_high(s.rate, s.n_effective, l.t) as clustered_high
  from sized as s
  join levels as l using (t_df)
),
summed as (
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
),
final as (
  select
    s.run_id,
    s.subject,
    s.checkpoint,
    s.prompt_set,
    s.stratum,
    s.prompt_form,
    s.n,
    s.n_clusters,
    s.n_correct,
    s.accuracy,
    s.accuracy_low,
    s.accuracy_high,
    b.clustered_low,
    b.clustered_high,
    b.n_effective,
    s.n_correct_normalised,
    s.accuracy_normalised,
    s.n_several_tokens,
    s.mean_target_prob,
    s.passes,
    s.logit_error
  from summed as s
  left join bounded as b on b.run_id = s.run_id and b.subject = s.subject and b.stratum = s.stratum and b.form is not distinct from s.prompt_form
)
select * from final
