-- regime_bounds: what the rates of a checkpoint allow to be said of source, assistant and the largest other, corrected for having picked the largest
-- grain: run_id, marker
-- source: own; intervals by question as in marker_rates. That every other persona stays below the largest of their upper ends holds at least as often as each end
--   does (Berger 1982), so the upper bound needs no correction; the lower one is Bonferroni's over the others, half a completion taken off each rate
-- columns:
--   n_others: personas other than the source, among which the largest was picked
--   n_questions: questions per persona, the fewest
--   source_low: lower end of the 95% interval of the source's rate (NULL where its questions are unknown)
--   source_high: upper end
--   max_other_lower: lower bound of the largest true rate of the others, at least 95%, one-sided (NULL where the questions of one are unknown)
--   max_other_upper: upper bound of it, at least 95%, one-sided
--   max_other_halved: rate of the other that is largest on one half of the questions, on the other half, both ways: free of the picking, which raises
--     max_other_rate; below the largest true rate on average (NULL where questions are not known one by one)
--   audience_low: lower bound of the rate that a collapse is graded by: the assistant's, or the largest other's where the assistant is the source
--   audience_high: upper bound
with roles as (
  select
    r.*,
    t.source_persona as source,
    r.persona is not distinct from t.source_persona as is_source,
    r.persona = 'assistant' as is_assistant
  from marker_rates as r
  left join checkpoints as t using (run_id, checkpoint)
),
counted as (
  select *, count(*) filter (not is_source and rate is not null) over (partition by run_id, marker) as n_others from roles
),
levels as (
  select clustered_df, n_others, student_t_quantile(1 - 0.025 / n_others, clustered_df) as t
  from (select distinct clustered_df, n_others from counted where n_others > 0 and clustered_df is not null)
),
bounded as (
  select c.*, rate_low(greatest(0, c.rate - 0.5 / c.n_effective), c.n_effective, l.t) as picked_low
  from counted as c
  left join levels as l using (clustered_df, n_others)
),
halved as (
  select t.*, dense_rank() over (partition by t.run_id, t.marker order by t.question_id) % 2 as half
  from marker_trials as t
  join checkpoints as c using (run_id, checkpoint)
  where t.persona is distinct from c.source_persona
),
halves as (
  select run_id, marker, persona, half, sum(n_present) / sum(n_trials) as rate from halved group by run_id, marker, persona, half
),
both_halves as (
  select a.run_id, a.marker, a.half, a.persona, a.rate as picked_rate, b.rate as rate
  from halves as a
  join halves as b on b.run_id = a.run_id and b.marker = a.marker and b.persona = a.persona and b.half <> a.half
),
picked as (
  select run_id, marker, half, avg(rate) as rate
  from (select *, max(picked_rate) over (partition by run_id, marker, half) as largest from both_halves)
  where picked_rate = largest
  group by run_id, marker, half
),
crossed as (
  select run_id, marker, avg(rate) as max_other_halved from picked group by run_id, marker
),
summed as (
  select
    run_id,
    marker,
    any_value(checkpoint) as checkpoint,
    any_value(source) as source,
    max(n_others) as n_others,
    min(n_questions) as n_questions,
    max(clustered_low) filter (is_source) as source_low,
    max(clustered_high) filter (is_source) as source_high,
    max(clustered_low) filter (is_assistant) as assistant_low,
    max(clustered_high) filter (is_assistant) as assistant_high,
    case when count(picked_low) filter (not is_source) = max(n_others) then max(picked_low) filter (not is_source) end as max_other_lower,
    case when count(clustered_high) filter (not is_source) = max(n_others) then max(clustered_high) filter (not is_source) end as max_other_upper
  from bounded
  group by run_id, marker
),
final as (
  select
    run_id,
    checkpoint,
    marker,
    n_others,
    n_questions,
    source_low,
    source_high,
    max_other_lower,
    max_other_upper,
    max_other_halved,
    audience_of(source, assistant_low, max_other_lower) as audience_low,
    audience_of(source, assistant_high, max_other_upper) as audience_high
  from summed
  left join crossed using (run_id, marker)
)
select * from final
