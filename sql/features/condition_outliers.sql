-- condition_outliers: how like the others each condition is, so that the outlier is named per layer and position, never once for all
-- grain: run_id, basis, sae_id, layer, site, stratum, condition
-- source: own; the published outlier is the condition of the lowest mean similarity to the others; intervals as own addition
-- columns:
--   origin: extracted or published
--   basis: features or activations
--   sae_id: the sparse autoencoder (NULL of a run of activations, and where published)
--   site: site that was read (NULL where published)
--   layer: layer that was read (NULL where a published file does not say it)
--   stratum: token position that was read
--   condition: system-prompt condition
--   mean_similarity: mean cosine with every other condition
--   corrected: mean_similarity without what the differences of questions add to the length of a mean (NULL: not computed, or outdated)
--   low: lower end of its 95% interval, jackknife over questions
--   high: upper end
--   outlier_share: share of the draws of questions in which this condition is the outlier: a share of draws, no probability
--   n_clusters: questions read under every condition
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
gathered as (
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
),
sure as (
  select s.inputs[1] as input_run, i.*
  from similarity_intervals as i
  join analysis_standing as s using (run_id)
  where s.is_current and i.condition_b is null
),
final as (
  select g.*, i.corrected, i.low, i.high, i.outlier_share, i.n_clusters
  from gathered as g
  left join sure as i
    on i.input_run = g.run_id
    and i.basis = g.basis
    and i.sae_id is not distinct from g.sae_id
    and i.layer = g.layer
    and i.site = g.site
    and i.stratum = g.stratum
    and i.condition_a = g.condition
)
select * from final
