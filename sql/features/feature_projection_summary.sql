-- feature_projection_summary: the projections on a list of named features in one row: their mean size and how many point each way
-- grain: run_id, sae_id, layer, site, stratum, condition_a, condition_b
-- source: superkaiba/explore-persona-space, issue 127 (Track A); sign test and random sets as own addition
-- columns:
--   origin: extracted or published
--   sae_id: the sparse autoencoder (NULL where published)
--   site: what it encodes (NULL where published)
--   layer: layer of the sparse autoencoder (NULL where a published file does not say it)
--   stratum: token position that was read
--   condition_a: condition whose activation is positive in the difference
--   condition_b: condition that is subtracted
--   n_features: features in the list
--   mean_abs_projection: mean absolute projection, the statistic the study set against random directions
--   mean_projection: mean projection
--   n_positive: projections above 0
--   n_negative: projections below 0
--   sign_p: exact two-sided binomial p of n_negative among the projections other than 0; descriptive, since features of one list are not independent
--   largest_feature: feature of the largest absolute projection
--   largest_share: its share of the sum of absolute projections
--   n_sets: disjoint sets of as many random directions, in the order of their numbers (NULL where published)
--   set_mean: mean over those sets of the mean absolute projection
--   set_sd: its standard deviation over the sets
--   set_p: share of sets whose mean absolute projection is at least that of the list, the list counted among them: (1 + those) / (1 + n_sets)
--   n_directions_disagree: projections whose printed direction is not that of their sign
with drawn as (
  select * from direction_differences where kind = 'random'
),
lists as (
  select
    run_id,
    origin,
    sae_id,
    layer,
    site,
    stratum,
    condition_a,
    condition_b,
    count(projection) as n_features,
    avg(abs(projection)) as mean_abs_projection,
    avg(projection) as mean_projection,
    count(*) filter (projection > 0) as n_positive,
    count(*) filter (projection < 0) as n_negative,
    sign_test_p(count(*) filter (projection < 0), count(*) filter (projection <> 0)) as sign_p,
    first(feature order by abs(projection) desc nulls last, feature) as largest_feature,
    max(abs(projection)) / nullif(sum(abs(projection)), 0) as largest_share,
    count(*) filter (not direction_agrees) as n_directions_disagree
  from feature_projections
  group by run_id, origin, sae_id, layer, site, stratum, condition_a, condition_b
),
numbered as (
  select d.*, l.n_features, l.mean_abs_projection, (row_number() over (pair order by d.feature) - 1) // l.n_features as set_number
  from drawn as d
  join lists as l
    on l.run_id = d.run_id
    and l.sae_id = d.sae_id
    and l.layer = d.layer
    and l.site = d.site
    and l.stratum = d.stratum
    and l.condition_a = d.condition_a
    and l.condition_b = d.condition_b
  window pair as (partition by d.run_id, d.sae_id, d.layer, d.site, d.stratum, d.condition_a, d.condition_b)
),
sets as (
  select
    run_id,
    sae_id,
    layer,
    site,
    stratum,
    condition_a,
    condition_b,
    set_number,
    avg(abs(projection)) as set_mean,
    any_value(mean_abs_projection) as observed
  from numbered
  group by run_id, sae_id, layer, site, stratum, condition_a, condition_b, set_number
  having count(*) = any_value(n_features)
),
judged as (
  select
    run_id,
    sae_id,
    layer,
    site,
    stratum,
    condition_a,
    condition_b,
    count(*) as n_sets,
    avg(set_mean) as set_mean,
    stddev_samp(set_mean) as set_sd,
    (1 + count(*) filter (set_mean >= observed)) / (1 + count(*)) as set_p
  from sets
  group by run_id, sae_id, layer, site, stratum, condition_a, condition_b
),
final as (
  select l.*, j.n_sets, j.set_mean, j.set_sd, j.set_p
  from lists as l
  left join judged as j
    on j.run_id = l.run_id
    and j.sae_id = l.sae_id
    and j.layer = l.layer
    and j.site = l.site
    and j.stratum = l.stratum
    and j.condition_a = l.condition_a
    and j.condition_b = l.condition_b
)
select * from final
