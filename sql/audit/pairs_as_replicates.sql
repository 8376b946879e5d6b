-- pairs_as_replicates: a pooled correlation that counts every pair of persona and checkpoint as independent, although personas repeat
-- grain: subject
-- source: own
-- severity: note
-- page: regimes
-- columns:
--   subject: source persona, layer and scope, and where own activations were read
with correlations as (
  select * from leakage_cosine where configuration = 'pooled' and n > n_personas and rho_personas is not null
),
final as (
  select
    subject_of(concat_ws(', ', coalesce(source, 'all sources'), 'layer ' || layer, scope, category, stratum, site, condition, marker, case when centered then 'centered' end), run_id) as subject,
    format(
      '{} pairs come from {} {}: rho = {} ({}) over pairs, {} ({}) with one point per {}',
      n,
      n_personas,
      case when source is null then 'pairs of source and persona' else 'personas' end,
      figure(rho),
      p_words(p),
      figure(rho_personas),
      p_words(p_personas),
      case when source is null then 'such pair' else 'persona' end
    ) as finding,
    format(
      'select scope, source, layer, n, n_personas, rho, p, rho_personas, p_personas from leakage_cosine where run_id = {} and configuration = {}',
      sql_text(run_id),
      sql_text('pooled')
    ) as evidence
  from correlations
)
select * from final
