-- regime_certainty: how often the regime of each trained checkpoint comes out again when its questions are drawn again, and what else does
-- grain: input_run, marker
-- source: own; bootstrap over questions (2,000 resamples), the same questions for all personas; default thresholds. Shares of draws are no probabilities that a
--   regime is true (simulated: a share of .34 where it is true in .70 of cases, .96 where in .90); regimes.regime_supported says what the intervals allow
-- columns:
--   input_run: run of completions the rates come from
--   regime: regime of the checkpoint's own rates
--   share_of_draws: share of the resamples with the same regime (0 where none has it)
--   alternatives: other regimes that came out, each with its share_of_draws, the most frequent first
--   most_frequent: the regime that came out most often, that of the rates on ties
--   is_most_frequent: no other regime came out more often than that of the rates; where false, the label says less than the draws do
--   source_low: 2.5% quantile of the source rate over the resamples
--   source_high: 97.5% quantile
--   other_low: 2.5% quantile of the largest other rate: too high as an interval of it, since the largest is picked again in every draw
--   other_high: 97.5% quantile
--   n_questions: questions that were drawn from
with labels as (
  select r.*, s.inputs[1] as input_run from regime_bootstrap as r join analysis_standing as s using (run_id) where s.is_current and r.share_of_draws is not null
),
cells as (
  select run_id as input_run, marker, checkpoint, regime from regimes where origin <> 'published'
),
final as (
  select
    e.input_run,
    e.marker,
    any_value(e.checkpoint) as checkpoint,
    any_value(k.regime) as regime,
    coalesce(max(e.share_of_draws) filter (e.regime = k.regime), 0) as share_of_draws,
    coalesce(list({'regime': e.regime, 'share_of_draws': e.share_of_draws} order by e.share_of_draws desc) filter (e.regime <> k.regime), []) as alternatives,
    first(e.regime order by e.share_of_draws desc, e.regime = k.regime desc, e.regime) as most_frequent,
    coalesce(most_frequent = any_value(k.regime), false) as is_most_frequent,
    any_value(e.source_low) as source_low,
    any_value(e.source_high) as source_high,
    any_value(e.other_low) as other_low,
    any_value(e.other_high) as other_high,
    any_value(e.n_questions) as n_questions,
    any_value(e.method) as method,
    any_value(e.resamples) as resamples,
    any_value(e.seed) as seed
  from labels as e
  join cells as k using (input_run, marker)
  group by e.input_run, e.marker
)
select * from final
