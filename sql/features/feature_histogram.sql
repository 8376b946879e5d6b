-- feature_histogram: how strongly a feature fires under each condition: readings by size of the activation, in twenty steps up to the largest of any condition
-- grain: run_id, sae_id, layer, site, stratum, feature, condition, step
-- source: own; a reading in which the feature does not fire has step 0
-- columns:
--   condition: condition of the system prompt (NULL where there is one only)
--   step: 0 where the feature is silent, else 1 to 20, of equal width
--   low: lower edge of the step, itself outside of it (0 in step 0)
--   high: upper edge (0 in step 0)
--   n: readings in the step
--   n_readings: readings under the condition
--   share: n over n_readings
with read as (
  select run_id, checkpoint, sae_id, layer, site, stratum, condition, count(*) as n_readings from feature_examples group by all
),
fired as (
  select
    run_id,
    sae_id,
    layer,
    site,
    stratum,
    feature,
    condition,
    value::double as value,
    max(value::double) over (partition by run_id, sae_id, layer, site, stratum, feature) as largest
  from features
),
known as (
  select run_id, sae_id, layer, site, stratum, feature, max(value::double) as largest from features group by all
),
firing as (
  select
    run_id,
    sae_id,
    layer,
    site,
    stratum,
    feature,
    condition,
    greatest(1, ceil(20 * value / largest))::integer as step,
    count(*) as n
  from fired
  group by all
),
total as (
  select run_id, sae_id, layer, site, stratum, feature, condition, sum(n) as n_firing from firing group by all
),
-- a condition under which the feature never fires is all silence
silent as (
  select
    r.run_id,
    r.sae_id,
    r.layer,
    r.site,
    r.stratum,
    k.feature,
    r.condition,
    0 as step,
    r.n_readings - coalesce(t.n_firing, 0) as n
  from read as r
  join known as k using (run_id, sae_id, layer, site, stratum)
  left join total as t
    on t.run_id = r.run_id
    and t.sae_id = r.sae_id
    and t.layer = r.layer
    and t.site = r.site
    and t.stratum = r.stratum
    and t.feature = k.feature
    and t.condition is not distinct from r.condition
),
steps as (
  from firing
  union all by name
  from silent
),
final as (
  select
    s.run_id,
    r.checkpoint,
    s.sae_id,
    s.layer,
    s.site,
    s.stratum,
    s.feature,
    s.condition,
    s.step,
    greatest(0, s.step - 1) * k.largest / 20 as low,
    s.step * k.largest / 20 as high,
    s.n::bigint as n,
    r.n_readings,
    s.n / r.n_readings as share
  from steps as s
  join known as k using (run_id, sae_id, layer, site, stratum, feature)
  join read as r
    on r.run_id = s.run_id
    and r.sae_id = s.sae_id
    and r.layer = s.layer
    and r.site = s.site
    and r.stratum = s.stratum
    and r.condition is not distinct from s.condition
)
select * from final
