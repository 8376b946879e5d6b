-- condition_outliers: how like the others each condition is, so that the outlier is named per layer and position, never once for all
-- grain: run_id, basis, sae_id, layer, site, stratum, condition
-- source: own; the published outlier is the condition of the lowest mean similarity to the others
-- columns:
--   origin: extracted or published
--   basis: features or activations
--   sae_id: the sparse autoencoder (NULL of a run of activations, and where published)
--   site: site that was read (NULL where published)
--   layer: layer that was read (NULL where a published file does not say it)
--   stratum: token position that was read
--   condition: system-prompt condition
--   mean_similarity: mean cosine with every other condition
--   lowest: smallest cosine with another condition
--   highest: largest
--   n_others: other conditions
--   rank: order by mean_similarity, 1 is the outlier
--   asymmetry: largest difference between the cosine and the one of the other order; 0 for a cosine
--   self_similarity: cosine with itself; 1 for a cosine
with similarities as (
  select * from condition_similarity
),
mirrored as (
  select s.*, abs(s.cosine - m.cosine) as asymmetry
  from similarities as s
  join similarities as m
    on m.run_id = s.run_id
    and m.basis = s.basis
    and m.sae_id is not distinct from s.sae_id
    and m.site is not distinct from s.site
    and m.layer is not distinct from s.layer
    and m.stratum = s.stratum
    and m.condition_a = s.condition_b
    and m.condition_b = s.condition_a
),
final as (
  select
    run_id,
    origin,
    basis,
    sae_id,
    site,
    layer,
    stratum,
    condition_a as condition,
    avg(cosine) filter (condition_b <> condition_a) as mean_similarity,
    min(cosine) filter (condition_b <> condition_a) as lowest,
    max(cosine) filter (condition_b <> condition_a) as highest,
    count(cosine) filter (condition_b <> condition_a) as n_others,
    rank() over (partition by run_id, basis, sae_id, layer, site, stratum order by mean_similarity nulls last) as rank,
    max(asymmetry) as asymmetry,
    max(cosine) filter (condition_b = condition_a) as self_similarity
  from mirrored
  group by run_id, origin, basis, sae_id, layer, site, stratum, condition_a
)
select * from final
