-- preflight_differs: the marker rate depends on the attention implementation, so generations of one say little about a readout under the other
-- grain: subject
-- source: own; the paired test of the view preflight; a published record, which gives rates alone, by the difference against its own tolerance
-- severity: error
-- page: completions
-- columns:
--   subject: checkpoint and persona, or the published record
with rates as (
  select * from preflight where coalesce(decision = 'differs', differs)
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
    any_value(tolerance) as tolerance,
    any_value(paired_low) as paired_low,
    any_value(paired_high) as paired_high,
    any_value(n_tests) as n_tests
  from worded
  group by run_id, checkpoint, persona
),
final as (
  select
    subject_of(coalesce(format('{} as {}', checkpoint, persona), 'published preflight'), run_id) as subject,
    format('marker rate {}: {:.1f} points apart', words, 100 * difference)
      || coalesce(format(' ({:.1f} to {:.1f}, seed by seed, 95% over {} tests)', 100 * paired_low, 100 * paired_high, n_tests), '')
      || format(', {:.1f} are allowed', 100 * tolerance) as finding,
    format('select implementation, n, k, rate, n_same, difference, tolerance, paired_low, paired_high, decision from preflight where run_id = {} and persona is not distinct from {}', sql_text(run_id), coalesce(sql_text(persona), 'null'))
      as evidence
  from pairs
)
select * from final
