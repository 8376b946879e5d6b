-- regime_certainty: how sure the regime of each trained checkpoint is: its probability when the questions are drawn again, and what else comes out
-- grain: input_run, marker
-- outcomes: regime
-- source: own; bootstrap over questions (2,000 resamples), the same questions for all personas; default thresholds
-- columns:
--   input_run: run of completions the rates come from
--   regime: regime of the checkpoint's own rates
--   probability: share of the resamples with the same regime (0 where none has it)
--   alternatives: other regimes that came out, with their shares, likeliest first
--   source_low: 2.5% quantile of the source rate over the resamples
--   source_high: 97.5% quantile
--   other_low: 2.5% quantile of the largest other rate
--   other_high: 97.5% quantile
--   n_questions: questions that were drawn from
with labels as (
  select r.*, s.inputs[1] as input_run from regime_bootstrap as r join analysis_standing as s using (run_id) where s.is_current
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
    coalesce(max(e.probability) filter (e.regime = k.regime), 0) as probability,
    coalesce(list({'regime': e.regime, 'probability': e.probability} order by e.probability desc) filter (e.regime <> k.regime), []) as alternatives,
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
