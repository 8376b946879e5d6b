-- feature_differences: SAE features that differ between two conditions
-- grain: run_id, sae_id, layer, site, stratum, condition_a, condition_b, feature
-- outcomes: reason
-- source: own paired test (analysis feature-tests); superkaiba/explore-persona-space, issue 127 (Track B), typed from its text at the printed precision
-- columns:
--   origin: extracted or published
--   sae_id: the sparse autoencoder (NULL where published)
--   site: what it encodes (NULL where published)
--   layer: layer of the sparse autoencoder
--   stratum: token position that was read: last (last token of the prompt), last_system, marker or answer_mean
--   condition_a: condition whose mean is positive in the difference (NULL where a published file does not say it)
--   condition_b: condition that is subtracted (NULL where a published file does not say it)
--   feature: feature of the autoencoder
--   difference: mean under a minus mean under b (NULL where published: it was not printed)
--   effect: difference of means over the root mean of both population variances; unpaired, although the prompts are the same
--   threshold: 99.9th percentile of the per-shuffle maximum of the absolute effect (NULL where published: it was not printed; for extracted rows NULL where refused)
--   significant: the absolute effect is beyond the threshold (NULL where published or refused)
--   n_distinct: distinct pairs of inputs (NULL where published)
--   n_significant: features of the layer that are significant for the pair by the published rule: as printed, or counted
--   rank: order by absolute effect among the features at hand, from 1
--   decimals: decimals a published effect is printed with
--   paired_effect: mean of the paired differences over their sample standard deviation (NULL where published or refused)
--   p: sign-flip p of the feature alone; null: the conditions exchangeable within a question, not equal means (NULL where published or refused)
--   maxt_p: p adjusted for all features of the pair, layer and stratum by studentised max-T (NULL where published or refused)
--   bh_p: Benjamini-Hochberg adjusted p, at most maxt_p (NULL where published or refused)
--   n: questions under both conditions (NULL where published)
--   refused: the test is refused and the difference alone stands (NULL where published)
--   reason: why
--   neuronpedia_url: page of the feature on Neuronpedia (NULL where published, or where the autoencoder's files name none)
with sources as (
  select run_id as features_run, sae_id, max(neuronpedia) as neuronpedia from sae group by run_id, sae_id
),
extracted as (
  select feature_tests.*, neuronpedia, count(*) filter (abs(published_effect) > published_threshold) over (partition by run_id, sae_id, layer, site, stratum, condition_a, condition_b) as counted
  from feature_tests
  join analysis_standing using (run_id)
  left join sources using (features_run, sae_id)
  where is_current and feature is not null
),
final as (
  select
    run_id,
    'published' as origin,
    null::varchar as sae_id,
    null::varchar as site,
    layer,
    stratum,
    condition_a,
    condition_b,
    feature,
    null::double as difference,
    standardized_diff as effect,
    null::double as threshold,
    null::boolean as significant,
    null::bigint as n_distinct,
    n_significant,
    rank() over (partition by run_id, layer, stratum, condition_a, condition_b order by abs(standardized_diff) desc nulls last) as rank,
    decimals,
    null::double as paired_effect,
    null::double as p,
    null::double as maxt_p,
    null::double as bh_p,
    null::bigint as n,
    null::boolean as refused,
    null::varchar as reason,
    null::varchar as neuronpedia_url
  from published_feature_differences
  union all
  select
    run_id,
    'extracted' as origin,
    sae_id,
    site,
    layer,
    stratum,
    condition_a,
    condition_b,
    feature,
    difference,
    published_effect as effect,
    published_threshold as threshold,
    abs(published_effect) > published_threshold as significant,
    n_distinct,
    case when not refused then counted end as n_significant,
    rank() over (
      partition by run_id, sae_id, layer, site, stratum, condition_a, condition_b order by abs(published_effect) desc nulls last, abs(difference) desc
    ) as rank,
    null::integer as decimals,
    effect as paired_effect,
    p,
    maxt_p,
    bh_p,
    n,
    refused,
    reason,
    neuronpedia_page(neuronpedia, feature) as neuronpedia_url
  from extracted
)
select * from final
