-- printed_figures_differ: figures a role-focus analysis printed that its own layers or heads do not give, or two printed values of one correlation
-- grain: subject
-- source: own; a printed figure is off where it misses the computed one by more than rounding (1e-6)
-- severity: error
-- page: role_focus
-- columns:
--   subject: which figures of which family or pair
with differences as (
  select instruct_run, family, max(ci_error) as ci_error, max(diff_error) as diff_error from rfc_diff group by instruct_run, family
),
printed as (
  select family_a, family_b, min(pearson_r) as lowest, max(pearson_r) as highest, count(distinct run_id) as n
  from published_rfc_correlations
  group by family_a, family_b
),
found as (
  select
    format('summary of {}', family) as name,
    instruct_run as run_id,
    format('a printed figure is {} off the one its layers give', figure(printed_deviation)) as finding,
    format('select mean, std, min, max, n_positive, n_negative, n_above, n_below, printed_deviation from rfc_summary where family = {}', sql_text(family)) as evidence
  from rfc_summary
  where printed_deviation > 1e-6
  union all
  select
    format('correlation of {} and {}', family_a, family_b),
    concat_ws(' and ', base_run_a, base_run_b),
    format('a printed figure is {} off the one the layers give (r = {})', figure(printed_deviation), figure(pearson_r)),
    format(
      'select alignment, n, pearson_r, spearman_r, printed_deviation from rfc_correlation where family_a = {} and family_b = {}',
      sql_text(family_a),
      sql_text(family_b)
    )
  from rfc_correlation
  where alignment = 'layer index' and printed_deviation > 1e-6
  union all
  select
    format('patching candidates of {}', family),
    run_id,
    format('a printed figure is {} off the one the candidates give', figure(printed_deviation)),
    format('select n, mean_did, std_did, mean_did_log_ratio, mean_consistency, printed_deviation from patching_summary where family = {}', sql_text(family))
  from patching_summary
  where printed_deviation > 1e-6 or not printed_places_agree
  union all
  select
    format('layers of {}', family),
    instruct_run,
    format(
      'printed differences are {} off instruct minus base at most, ends of their intervals {} off the published formula',
      figure(coalesce(diff_error, 0)),
      figure(coalesce(ci_error, 0))
    ),
    format('select layer, rfc_base, rfc_instruct, rfc_diff, diff_error, ci_error from rfc_diff where instruct_run = {} order by layer', sql_text(instruct_run))
  from differences
  where diff_error > 1e-6 or ci_error > 1e-6
  union all
  select
    format('printed correlations of {} and {}', family_a, family_b),
    'several runs',
    format('{} analyses print different values of one correlation: r from {} to {}', n, figure(lowest), figure(highest)),
    format(
      'select source_file, analysis_timestamp, pearson_r, pearson_p, layers_compared from published_rfc_correlations where family_a = {} and family_b = {}',
      sql_text(family_a),
      sql_text(family_b)
    )
  from printed
  where highest - lowest > 1e-6
),
final as (
  select subject_of(name, run_id) as subject, finding, evidence from found
)
select * from final
