-- direction_differences: difference of two conditions' activations along one decoder direction, named or random, paired by question
-- grain: run_id, sae_id, layer, site, stratum, condition_a, condition_b, kind, feature
-- source: own; after Track A of superkaiba/explore-persona-space, issue 127
-- columns:
--   condition_a: condition whose activation is positive in the difference, the first by name
--   condition_b: condition that is subtracted
--   description: what the feature is said to stand for (NULL of a random direction)
--   projection: mean over distinct question inputs of (activation under a minus activation under b) times the unit decoder direction; repeats are averaged first
--   sem: its standard error over distinct question inputs (NULL where the inputs do not vary)
--   n: questions read under both conditions
--   n_distinct: questions with distinct inputs among them, the replicates
with inputs as (
  select run_id, sae_id, layer, site, stratum, condition, question_id, string_agg(input_hash, ' ' order by input_hash) as inputs
  from feature_examples
  where condition is not null
  group by run_id, sae_id, layer, site, stratum, condition, question_id
),
readings as (
  select run_id, sae_id, layer, site, stratum, condition, question_id, kind, feature, any_value(description) as description, avg(projection::double) as projection
  from feature_directions
  where condition is not null
  group by run_id, sae_id, layer, site, stratum, condition, question_id, kind, feature
),
questions as (
  select * from readings join inputs using (run_id, sae_id, layer, site, stratum, condition, question_id)
),
-- questions whose inputs are the same under both conditions are one unit, as in feature_tests
units as (
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
    any_value(a.description) as description,
    avg(a.projection - b.projection) as difference,
    count(*) as n_questions
  from questions as a
  join questions as b
    on b.run_id = a.run_id
    and b.sae_id = a.sae_id
    and b.layer = a.layer
    and b.site = a.site
    and b.stratum = a.stratum
    and b.kind = a.kind
    and b.feature = a.feature
    and b.question_id = a.question_id
    and b.condition > a.condition
  group by a.run_id, a.sae_id, a.layer, a.site, a.stratum, a.condition, b.condition, a.kind, a.feature, a.inputs, b.inputs
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
    case when count(*) > 1 then stddev_samp(difference) / sqrt(count(*)) end as sem,
    sum(n_questions)::bigint as n,
    count(*) as n_distinct
  from units
  group by run_id, sae_id, layer, site, stratum, condition_a, condition_b, kind, feature
)
select * from final
