-- outlier_not_everywhere: the condition least like the others is not the same one at every layer, so no single outlier holds for all
-- grain: subject
-- source: own
-- severity: warning
-- page: features
-- columns:
--   subject: run, what is compared (features or activations), token position
with ranked as (
  select *
  from condition_outliers
  where rank = 1 and n_others > 1
  qualify count(*) over (partition by run_id, basis, sae_id, layer, site, stratum) = 1
),
final as (
  select
    concat_ws(', ', run_id, basis, format('position {}', stratum)) as subject,
    format('the outlier changes with the layer: {}', string_agg(format('{} at layer {}', condition, layer), ', ' order by layer, condition)) as finding,
    format(
      'select layer, condition, mean_similarity, rank from condition_outliers where run_id = {} and basis = {} and stratum = {} order by layer, rank',
      sql_text(run_id),
      sql_text(basis),
      sql_text(stratum)
    ) as evidence
  from ranked
  group by run_id, basis, site, stratum
  having count(distinct condition) > 1
)
select * from final
