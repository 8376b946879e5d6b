-- persona_map: where the personas of a checkpoint lie to each other: first two principal axes of their mean activations, layer by layer
-- grain: run_id, condition, stratum, layer, site, persona
-- source: own; principal components of the means after the mean over personas was subtracted, from their inner products (persona_cosines; Gower 1966). Places with three
--   personas or more that are not all the same
-- columns:
--   x: place on the first axis, in units of the activations; the persona farthest from 0 lies above 0
--   y: place on the second axis, likewise (NULL where all personas lie on one line)
--   x_share: share of the variance between personas that the first axis holds
--   y_share: share that the second holds
--   norm_centered: length of the persona's mean vector after the mean over personas was subtracted
--   n: vectors averaged for the persona
--   n_personas: personas on the map
with cosines as (
  select * from persona_cosines
),
norms as (
  select run_id, condition, stratum, layer, site, persona as other_persona, norm_centered as other_norm from cosines where persona = other_persona
),
-- a persona that equals the mean has no cosine, and products of 0
lines as (
  select
    c.run_id,
    c.subject,
    c.checkpoint,
    c.condition,
    c.stratum,
    c.layer,
    c.site,
    c.persona,
    any_value(c.n) as n,
    any_value(c.norm_centered) as norm_centered,
    list(coalesce(c.cosine_centered, 0) * c.norm_centered * n.other_norm order by c.other_persona) as line
  from cosines as c
  join norms as n
    on n.run_id = c.run_id
    and n.stratum = c.stratum
    and n.layer = c.layer
    and n.site = c.site
    and n.other_persona = c.other_persona
    and n.condition is not distinct from c.condition
  group by c.run_id, c.subject, c.checkpoint, c.condition, c.stratum, c.layer, c.site, c.persona
),
grams as (
  select
    run_id,
    subject,
    checkpoint,
    condition,
    stratum,
    layer,
    site,
    list(line order by persona) as gram,
    list({'persona': persona, 'norm_centered': norm_centered, 'n': n} order by persona) as personas,
    sum(norm_centered ** 2) as variance
  from lines
  group by run_id, subject, checkpoint, condition, stratum, layer, site
  having count(*) > 2 and sum(norm_centered ** 2) > 0
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
  select *, variance_along(gram, second) as second_along, unnest(personas) as persona_of, generate_subscripts(personas, 1) as place from second_axes
),
final as (
  select
    run_id,
    subject,
    checkpoint,
    condition,
    stratum,
    layer,
    site,
    persona_of.persona as persona,
    axis[place] * sqrt(along) as x,
    second[place] * sqrt(greatest(0, second_along)) as y,
    along / variance as x_share,
    second_along / variance as y_share,
    persona_of.norm_centered as norm_centered,
    persona_of.n as n,
    len(personas) as n_personas
  from measured
)
select * from final
