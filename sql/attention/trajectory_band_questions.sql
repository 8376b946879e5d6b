-- trajectory_band_questions: what each question adds to the error of the trajectory's band mean, so that errors of two steps can be set against each other
-- grain: run_id, subject, step, question_id
-- source: own; CR2 of the difference of two means that share questions (macros/clusters.sql)
-- columns:
--   step: steps before the marker, or before the end of an answer without it, -9 to 0
--   first_layer: first layer of the longest window of passing layers, the first of equally long ones
--   last_layer: its last layer
--   n_positive: generations of the question with the marker
--   n_negative: generations without it
--   positive_share: n_positive over those of all questions
--   negative_share: n_negative over those of all questions
--   band_mean: mean over generations and the window's layers, with the marker minus without it, over all questions
--   residual: what the question adds to its error; the sum of squares is the squared standard error
with windows as (
  select run_id, subject, first_layer, last_layer
  from gate_windows
  where origin = 'extracted'
  qualify row_number() over (partition by run_id, subject order by n_layers desc, first_layer) = 1
),
generations as (
  select s.run_id, s.subject, s.question_id, s.example_id, s.sample_ix, s.positive, s.step, w.first_layer, w.last_layer, avg(s.system) as system
  from trajectory_steps as s
  join windows as w on w.run_id = s.run_id and w.subject = s.subject and s.layer between w.first_layer and w.last_layer
  group by all
),
questions as (
  select
    run_id,
    subject,
    step,
    question_id,
    first_layer,
    last_layer,
    count(*) filter (positive) as n_positive,
    count(*) filter (not positive) as n_negative,
    coalesce(sum(system) filter (positive), 0) as positive_total,
    coalesce(sum(system) filter (not positive), 0) as negative_total
  from generations
  group by run_id, subject, step, question_id, first_layer, last_layer
),
centred as (
  select
    *,
    sum(n_positive) over steps as n_of_positive,
    sum(n_negative) over steps as n_of_negative,
    n_positive / nullif(n_of_positive, 0) as positive_share,
    n_negative / nullif(n_of_negative, 0) as negative_share,
    sum(positive_total) over steps / nullif(n_of_positive, 0) as positive_mean,
    sum(negative_total) over steps / nullif(n_of_negative, 0) as negative_mean
  from questions
  window steps as (partition by run_id, subject, step)
),
final as (
  select
    run_id,
    subject,
    step,
    question_id,
    first_layer,
    last_layer,
    n_positive,
    n_negative,
    positive_share,
    negative_share,
    positive_mean - negative_mean as band_mean,
    cr2_residual(n_positive, positive_total, positive_mean, positive_share, n_of_positive)
    - cr2_residual(n_negative, negative_total, negative_mean, negative_share, n_of_negative) as residual
  from centred
)
select * from final
