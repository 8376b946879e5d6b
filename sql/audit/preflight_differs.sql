-- preflight_differs: the marker rate depends on the attention implementation, so generations of one say little about a readout under the other
-- grain: subject
-- source: own; the tolerance is that of the run
-- severity: error
-- page: completions
-- columns:
--   subject: checkpoint and persona, or the published record
with rates as (
  select * from preflight where differs
),
worded as (
  select
    *,
    format('{:.1f}%', 100 * rate) || coalesce(format(' ({} of {})', k, n), '') || ' under ' || implementation as words
  from rates
),
pairs as (
  select
    run_id,
    checkpoint,
    persona,
    string_agg(words, ' and ' order by implementation desc) as words,
    any_value(difference) as difference,
    any_value(tolerance) as tolerance
  from worded
  group by run_id, checkpoint, persona
),
final as (
  select
    subject_of(coalesce(format('{} as {}', checkpoint, persona), 'published preflight'), run_id) as subject,
    format('marker rate {}: {:.1f} points apart, {:.1f} are allowed', words, 100 * difference, 100 * tolerance) as finding,
    format('select implementation, n, k, rate, n_same, difference, tolerance from preflight where run_id = {} and persona is not distinct from {}', sql_text(run_id), coalesce(sql_text(persona), 'null'))
      as evidence
  from pairs
)
select * from final
