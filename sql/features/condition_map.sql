-- condition_map: where the system-prompt conditions of a checkpoint lie to each other: first two principal axes of their mean activations, layer by layer
-- grain: run_id, stratum, layer, site, condition
-- source: own; as persona_map (Gower 1966), over conditions. Places that were read under one persona, or none, and three conditions or more that are not all the same
-- columns:
--   x: place on the first axis, in units of the activations; the condition farthest from 0 lies above 0
--   y: place on the second axis, likewise (NULL where all conditions lie on one line)
--   x_share: share of the variance between conditions that the first axis holds
--   y_share: share that the second holds
--   norm_centered: length of the condition's mean vector after the mean over conditions was subtracted
--   n: vectors averaged for the condition
--   n_conditions: conditions on the map
with vectors as (
  select run_id, subject, checkpoint, stratum, layer, site, condition, n, vector::double[] as vector
  from persona_vectors
  where condition is not null
  qualify count(*) over (partition by run_id, stratum, layer, site, condition) = 1
),
products as (
  select
    a.run_id,
    a.subject,
    a.checkpoint,
    a.stratum,
    a.layer,
    a.site,
    a.condition,
    a.n,
    b.condition as other_condition,
    list_dot_product(a.vector, b.vector) as product,
    list_dot_product(a.vector, a.vector) as square
  from vectors as a
  join vectors as b on b.run_id = a.run_id and b.stratum = a.stratum and b.layer = a.layer and b.site = a.site
),
centred as (
  select
    *,
    product - avg(product) over of_condition - avg(product) over of_other + avg(product) over of_all as product_centered
  from products
  window
    of_condition as (partition by run_id, stratum, layer, site, condition),
    of_other as (partition by run_id, stratum, layer, site, other_condition),
    of_all as (partition by run_id, stratum, layer, site)
),
-- a condition that equals the mean has products of 0, but for the digits that were lost
lines as (
  select
    run_id,
    subject,
    checkpoint,
    stratum,
    layer,
    site,
    condition,
    any_value(n) as n,
    sqrt(greatest(0, max(product_centered) filter (condition = other_condition))) as norm_centered,
    max(product_centered) filter (condition = other_condition) > 1e-12 * any_value(square) as differs,
    list(product_centered order by other_condition) as line
  from centred
  group by run_id, subject, checkpoint, stratum, layer, site, condition
),
grams as (
  select
    run_id,
    subject,
    checkpoint,
    stratum,
    layer,
    site,
    list(line order by condition) as gram,
    list({'condition': condition, 'norm_centered': norm_centered, 'n': n} order by condition) as conditions,
    sum(norm_centered ** 2) as variance
  from lines
  group by run_id, subject, checkpoint, stratum, layer, site
  having count(*) > 2 and bool_or(differs)
),
first_axes as (
  select *, pointing_up(leading_axis(gram)) as axis from grams
),
rests as (
  select *, off_axis(gram, axis) as rest, variance_along(gram, axis) as along from first_axes
),
second_axes as (
  select *, case when variance - along > 1e-12 * variance then pointing_up(leading_axis(rest)) end as second from rests
),
measured as (
  select *, variance_along(gram, second) as second_along, unnest(conditions) as condition_of, generate_subscripts(conditions, 1) as place from second_axes
),
final as (
  select
    run_id,
    subject,
    checkpoint,
    stratum,
    layer,
    site,
    condition_of.condition as condition,
    axis[place] * sqrt(along) as x,
    second[place] * sqrt(greatest(0, second_along)) as y,
    along / variance as x_share,
    second_along / variance as y_share,
    condition_of.norm_centered as norm_centered,
    condition_of.n as n,
    len(conditions) as n_conditions
  from measured
)
select * from final
