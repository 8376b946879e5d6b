-- direction_differences: difference of two conditions' activations along one decoder direction, named or random, paired by question
-- grain: run_id, sae_id, layer, site, stratum, condition_a, condition_b, kind, feature
-- source: own; after Track A of superkaiba/explore-persona-space, issue 127
-- columns:
--   condition_a: condition whose activation is positive in the difference, the first by name
--   condition_b: condition that is subtracted
--   description: what the feature is said to stand for (NULL of a random direction)
--   projection: mean over questions of (activation under a minus activation under b) times the unit decoder direction
--   sem: its standard error over questions (NULL where the inputs do not vary)
--   n: questions read under both conditions
--   n_distinct: distinct pairs of inputs among them
with pairs as (
  select
    a.run_id,
    a.sae_id,
    a.layer,
    a.site,
    a.stratum,
    a.condition as condition_a,
    b.condition as condition_b,
    a.kind,
    a.feature,
    a.description,
    a.input_hash || b.input_hash as inputs,
    a.projection::double - b.projection as difference
  from feature_directions as a
  join feature_directions as b
    on b.run_id = a.run_id
    and b.sae_id = a.sae_id
    and b.layer = a.layer
    and b.site = a.site
    and b.stratum = a.stratum
    and b.kind = a.kind
    and b.feature = a.feature
    and b.persona is not distinct from a.persona
    and b.question_id = a.question_id
    and b.sample_ix is not distinct from a.sample_ix
    and b.condition > a.condition
),
final as (
  select
    run_id,
    sae_id,
    layer,
    site,
    stratum,
    condition_a,
    condition_b,
    kind,
    feature,
    any_value(description) as description,
    avg(difference) as projection,
    case when count(distinct inputs) > 1 then stddev_samp(difference) / sqrt(count(*)) end as sem,
    count(*) as n,
    count(distinct inputs) as n_distinct
  from pairs
  group by run_id, sae_id, layer, site, stratum, condition_a, condition_b, kind, feature
)
select * from final
