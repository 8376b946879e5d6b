-- sensitivity_features: do SAE features differ between two conditions? The answer under every defensible choice, and the share that keeps it
-- grain: run_id, sae_id, condition_a, condition_b, layer, site, stratum, rule, level
-- source: own; specification curve (Simonsohn, Simmons and Nelson 2020) over the tests of feature_tests; refused tests are no choice
-- columns:
--   run_id: the analysis run
--   features_run: run of the features that were compared
--   condition_a: condition whose mean is positive in the difference
--   condition_b: condition that is subtracted
--   layer: layer of the autoencoder
--   site: what it encodes
--   stratum: token position that was read
--   rule: max-T over features, false discovery rate (Benjamini and Hochberg), or published (unpaired shuffle rule)
--   level: family-wise error or share of false discoveries: 0.05 or 0.01 (the published rule has one level of its own)
--   n: questions under both conditions
--   estimate: features that differ
--   conclusion: differ (at least one does) or do not differ
--   is_reference: max-T at 0.05, at the last token of the last layer that was read
--   reference: its conclusion (NULL where that test is missing or refused)
--   n_choices: choices of the pair
--   n_same: those whose conclusion is the reference's (NULL where there is none)
--   share_same: n_same over n_choices
with made as (
  select t.* from feature_tests as t join analysis_standing as s using (run_id) where s.is_current
),
depths as (
  select run_id, sae_id, condition_a, condition_b, max(layer) as last_layer from made group by run_id, sae_id, condition_a, condition_b
),
tests as (
  select * from made where not refused
),
counted as (
  select
    run_id,
    features_run,
    sae_id,
    condition_a,
    condition_b,
    layer,
    site,
    stratum,
    max(n) as n,
    count(*) filter (maxt_p <= 0.05) as maxt_05,
    count(*) filter (maxt_p <= 0.01) as maxt_01,
    count(*) filter (bh_p <= 0.05) as bh_05,
    count(*) filter (bh_p <= 0.01) as bh_01,
    count(*) filter (abs(published_effect) > published_threshold) as published
  from tests
  group by run_id, features_run, sae_id, condition_a, condition_b, layer, site, stratum
),
chosen as (
  select * exclude (maxt_05, maxt_01, bh_05, bh_01, published), 'max-T' as rule, 0.05::double as level, maxt_05 as estimate from counted
  union all
  select * exclude (maxt_05, maxt_01, bh_05, bh_01, published), 'max-T', 0.01, maxt_01 from counted
  union all
  select * exclude (maxt_05, maxt_01, bh_05, bh_01, published), 'false discovery rate', 0.05, bh_05 from counted
  union all
  select * exclude (maxt_05, maxt_01, bh_05, bh_01, published), 'false discovery rate', 0.01, bh_01 from counted
  union all
  select * exclude (maxt_05, maxt_01, bh_05, bh_01, published), 'published', 0.001, published from counted
),
judged as (
  select
    *,
    case when estimate > 0 then 'differ' else 'do not differ' end as conclusion,
    rule = 'max-T'
    and level = 0.05
    and stratum = 'last'
    and layer = last_layer
    and row_number() over (partition by run_id, sae_id, condition_a, condition_b, layer, stratum, rule, level order by site) = 1 as is_reference
  from chosen
  join depths using (run_id, sae_id, condition_a, condition_b)
),
referred as (
  select *, max(conclusion) filter (is_reference) over (partition by run_id, sae_id, condition_a, condition_b) as reference from judged
),
final as (
  select
    * exclude (last_layer),
    count(*) over choices as n_choices,
    case when reference is not null then count(*) filter (conclusion = reference) over choices end as n_same,
    n_same / n_choices as share_same
  from referred
  window choices as (partition by run_id, sae_id, condition_a, condition_b)
)
select * from final
