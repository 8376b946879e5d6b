-- changed_without_interval: layers counted as changed by a fixed threshold although their interval includes zero
-- grain: subject
-- source: own; the published count takes 0.01 without a test
-- severity: warning
-- page: role_focus
-- columns:
--   subject: model family
with summaries as (
  select * from rfc_summary where n_changed_unsure > 0
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
