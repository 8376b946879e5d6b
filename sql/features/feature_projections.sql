-- feature_projections: how far the difference of two conditions points along the decoder direction of a named SAE feature
-- grain: run_id, sae_id, layer, site, stratum, condition_a, condition_b, feature
-- outcomes: direction, printed_direction
-- source: superkaiba/explore-persona-space, issue 127 (Track A), typed from its text at the printed precision; extracted rows from feature_directions
-- columns:
--   origin: extracted or published
--   sae_id: the sparse autoencoder (NULL where published)
--   site: what it encodes (NULL where published)
--   layer: layer of the sparse autoencoder (NULL where a published file does not say it)
--   stratum: token position that was read: last_system (last token of the system block, the same for every question)
--   condition_a: condition whose activation is positive in the difference
--   condition_b: condition that is subtracted
--   feature: feature of the autoencoder
--   description: what the feature is said to stand for
--   projection: (activation under a minus activation under b) times the unit decoder direction, mean over questions
--   low: lower end of its 95% interval, Student t over questions with distinct inputs (NULL where published, or refused)
--   high: upper end
--   n: questions read under both conditions (NULL where published)
--   n_distinct: questions with distinct inputs among them; at 1 the projection is one number and no interval over questions can be made (refused)
--   refused: n_distinct is 1 (NULL where published)
--   direction: the condition that points along the feature more, > the other, by the sign of the projection (NULL at 0)
--   printed_direction: direction as printed, with the study's codes
--   direction_agrees: the printed direction is that of the sign, C1 being condition a
--   null_mean: mean projection on random decoder directions (NULL where published: only the mean over the list was printed)
--   null_sd: its standard deviation
--   null_low: 2.5th percentile of the projections on random directions
--   null_high: 97.5th percentile
--   n_random: random directions, none of them of the list
--   p: share of random directions whose absolute projection is at least as large, the feature itself counted among them: (1 + those) / (1 + n_random)
--   p_greater: share of random directions whose projection is at least this one, a pointing along them as much or more; the feature counted among them
--   p_less: the same of those whose projection is at most this one
--   decimals: decimals a published projection is printed with
with published as (
  select *, split_part(direction, '>', 1) as winner, split_part(direction, '>', 2) as loser from published_projections
),
means as (
  select * from direction_differences
),
compared as (
  select
    m.*,
    count(r.feature) as n_random,
    avg(r.projection) as null_mean,
    stddev_samp(r.projection) as null_sd,
    quantile_cont(r.projection, 0.025) as null_low,
    quantile_cont(r.projection, 0.975) as null_high,
    count(*) filter (abs(r.projection) >= abs(m.projection)) as n_as_large,
    count(*) filter (r.projection >= m.projection) as n_above,
    count(*) filter (r.projection <= m.projection) as n_below
  from means as m
  left join means as r
    on r.kind = 'random'
    and r.run_id = m.run_id
    and r.sae_id = m.sae_id
    and r.layer = m.layer
    and r.site = m.site
    and r.stratum = m.stratum
    and r.condition_a = m.condition_a
    and r.condition_b = m.condition_b
  where m.kind = 'named'
  group by all
),
of_publications as (
  select
    run_id,
    'published' as origin,
    layer,
    stratum,
    condition_a,
    condition_b,
    feature,
    description,
    projection,
    case when projection > 0 then condition_a || '>' || condition_b when projection < 0 then condition_b || '>' || condition_a end as direction,
    direction as printed_direction,
    case when projection <> 0 then (projection > 0) = (winner < loser) end as direction_agrees,
    null::double as null_mean,
    null::double as null_sd,
    null::double as p,
    decimals
  from published
),
bounded as (
  select *, half_width(sem, n_distinct) as half_width from compared
),
extracted as (
  select
    run_id,
    'extracted' as origin,
    sae_id,
    layer,
    site,
    stratum,
    condition_a,
    condition_b,
    feature,
    description,
    projection,
    case when projection > 0 then condition_a || '>' || condition_b when projection < 0 then condition_b || '>' || condition_a end as direction,
    null_mean,
    null_sd,
    case when n_random > 0 then (1 + n_as_large) / (1 + n_random) end as p,
    case when n_random > 0 then (1 + n_above) / (1 + n_random) end as p_greater,
    case when n_random > 0 then (1 + n_below) / (1 + n_random) end as p_less,
    null_low,
    null_high,
    n_random,
    projection - half_width as low,
    projection + half_width as high,
    n,
    n_distinct,
    n_distinct = 1 as refused
  from bounded
),
final as (
  from of_publications union all by name from extracted
)
select * from final
