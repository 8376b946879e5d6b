-- slice_features: sparse-autoencoder features that tell one condition of the system prompt from another at a layer, and how many do
-- grain: run_id, persona, measure, other, place, layer
-- source: own; feature_test_summary, and of feature_differences those whose p adjusted for all features is at most 0.05. A pair of conditions stands there twice, once
--   from either side, with the sign of the first
-- columns as: slice
with readers as (
  select run_id, checkpoint, subject from runs
),
counts as (
  select
    features_run as run_id,
    run_id as tests_run,
    layer,
    condition_a,
    condition_b,
    concat_ws(' · ', stratum, site, sae_id) as place,
    'features that differ' as measure,
    n_maxt::double as value,
    'features of ' || n_tested as unit,
    n,
    null::double as p,
    coalesce(method, 'no test') || '; family-wise 5% (max-T)' as method,
    reason as verdict,
    'feature_test_summary' as source
  from feature_test_summary
),
tested as (
  select
    s.features_run as run_id,
    d.run_id as tests_run,
    d.layer,
    d.condition_a,
    d.condition_b,
    concat_ws(' · ', d.stratum, d.site, d.sae_id) as place,
    'activation of feature ' || d.feature as measure,
    d.difference as value,
    'difference of mean activations' as unit,
    d.n,
    d.maxt_p as p,
    'mean of paired differences; p: sign flips, max-T over all features; no interval' as method,
    null::varchar as verdict,
    'feature_differences' as source
  from feature_differences as d
  join (select distinct run_id, features_run from feature_test_summary) as s using (run_id)
  where d.origin = 'extracted' and d.maxt_p <= 0.05
),
gathered as (
  from counts union all by name from tested
),
sides as (
  select *, unnest([condition_a, condition_b]) as persona from gathered
),
final as (
  select
    'features' as topic,
    r.checkpoint,
    r.subject,
    s.persona,
    s.layer,
    null::integer as head,
    s.measure,
    s.condition_a || ' minus ' || s.condition_b as other,
    null::varchar as other_checkpoint,
    s.place,
    s.value,
    null::double as low,
    null::double as high,
    s.unit,
    s.n,
    'questions' as n_of,
    s.n as n_clusters,
    s.p,
    s.method,
    s.verdict,
    'extracted' as origin,
    s.source,
    'features' as page,
    s.tests_run as run_id,
    s.run_id as base_run
  from sides as s
  join readers as r using (run_id)
)
select * from final
