-- correlation_over_layers: a correlation over layers that is below 0.05 only while layers count as independent, or only with every layer in
-- grain: subject
-- source: own; effective number of layers from the autocorrelation of both profiles
-- severity: warning
-- page: role_focus
-- columns:
--   subject: the two families
with pairs as (
  select * from rfc_correlation where alignment = 'layer index' and pearson_p < 0.05
),
final as (
  select
    subject_of(format('{} and {}', family_a, family_b), concat_ws(' and ', base_run_a, base_run_b)) as subject,
    format(
      'r = {} has {} over {} layers; worth {:.0f} independent ones it has {}, and without layer {} {}',
      figure(pearson_r),
      p_words(pearson_p),
      n,
      n_effective,
      p_words(pearson_p_effective),
      loo_p_max_point,
      p_words(loo_p_max)
    ) as finding,
    format(
      'select alignment, n, pearson_r, pearson_p, n_effective, pearson_p_effective, loo_r_min, loo_r_max, loo_p_max from rfc_correlation '
      || 'where family_a = {} and family_b = {}',
      sql_text(family_a),
      sql_text(family_b)
    ) as evidence
  from pairs
  where pearson_p_effective >= 0.05 or loo_p_max >= 0.05
)
select * from final
