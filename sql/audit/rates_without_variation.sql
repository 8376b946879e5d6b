-- rates_without_variation: configurations in which every persona has the same rate, so that no correlation with it exists
-- grain: subject
-- source: own
-- severity: note
-- page: regimes
-- columns:
--   subject: source persona and layer, and where own activations were read
with correlations as (
  select * from leakage_cosine where configuration <> 'pooled' and category is null and n_distinct is not null
),
final as (
  select
    subject_of(concat_ws(', ', coalesce(source, 'all sources'), 'layer ' || layer, scope, stratum, site, condition, marker, case when centered then 'centered' end), run_id) as subject,
    format('in {} of {} configurations all personas have the same rate: rho is not defined there', count(*) filter (n_distinct = 1), count(*)) as finding,
    format('select configuration, n, n_distinct, rho, rho_published from leakage_cosine where run_id = {} and n_distinct = 1', sql_text(run_id)) as evidence
  from correlations
  group by run_id, scope, source, layer, stratum, site, condition, marker, centered
  having count(*) filter (n_distinct = 1) > 0
)
select * from final
