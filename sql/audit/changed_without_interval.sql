-- changed_without_interval: layers counted as changed by a fixed threshold although their interval includes zero
-- grain: subject
-- source: own; the published count takes 0.01 without a test. Noise of that size makes a layer count as changed in every study: it is said where the counts were
--   printed or a claim rests on them, or where most layers count, so does their mean, and no interval of any leaves out 0
-- severity: warning
-- page: role_focus
-- columns:
--   subject: model family
with claimed as (
  select distinct query from claim_verdicts where regexp_matches(query, 'rfc_summary|rfc_diff') and regexp_matches(query, 'n_above|n_below|n_near_zero|share_')
),
summaries as (
  select s.*
  from rfc_summary as s
  where s.n_changed_unsure > 0
    and (
      s.printed_deviation is not null
      or (s.n_excludes_zero = 0 and 2 * (s.n_above + s.n_below) >= s.n_layers and abs(s.mean) > 0.01)
      or exists (select 1 from claimed as c where contains(c.query, sql_text(s.family)))
    )
),
final as (
  select
    subject_of(family, instruct_run) as subject,
    format(
      '{} of {} layers count as changed (beyond 0.01), but the 95% interval of {} of them includes 0; it leaves out 0 in {} layers',
      n_above + n_below,
      n_layers,
      n_changed_unsure,
      n_excludes_zero
    ) as finding,
    format(
      'select layer, rfc_diff, ci_low, ci_high, changed, excludes_zero, welch_p_fdr from rfc_diff where instruct_run = {} and family = {} order by layer',
      sql_text(instruct_run),
      sql_text(family)
    ) as evidence
  from summaries
)
select * from final
