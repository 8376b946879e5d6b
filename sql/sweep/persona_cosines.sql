-- persona_cosines: how alike two personas are inside one checkpoint: cosine of their mean activations
-- grain: run_id, condition, stratum, layer, site, persona, other_persona
-- source: superkaiba/explore-persona-space (cosine of mean activations, raw and after subtracting the mean over personas)
-- columns:
--   other_persona: persona compared with; both orders stand, and each persona with itself
--   cosine: cosine of the two mean vectors
--   cosine_centered: cosine after the mean over the run's personas was subtracted from both (NULL where a persona equals that mean, or stands alone)
--   norm: length of the persona's mean vector
--   norm_centered: its length after the mean over personas was subtracted
--   n: vectors averaged for the persona
--   n_other: vectors averaged for the other persona
--   n_personas: personas in the mean that is subtracted
with vectors as (
  select run_id, subject, checkpoint, persona, condition, stratum, layer, site, n, n_distinct, vector::double[] as vector from persona_vectors
),
products as (
  select
    a.*,
    b.persona as other_persona,
    b.n as n_other,
    list_dot_product(a.vector, b.vector) as product,
    list_dot_product(a.vector, a.vector) as square,
    list_dot_product(b.vector, b.vector) as square_other
  from vectors as a
  join vectors as b
    on b.run_id = a.run_id
    and b.stratum = a.stratum
    and b.layer = a.layer
    and b.site = a.site
    and b.condition is not distinct from a.condition
),
-- products of centred vectors follow from the raw ones: subtract the means of row and column, add the mean of all
centred as (
  select
    *,
    count(*) over of_persona as n_personas,
    avg(product) over of_persona as with_mean,
    avg(product) over of_other as other_with_mean,
    avg(product) over of_all as mean_square
  from products
  window
    of_persona as (partition by run_id, condition, stratum, layer, site, persona),
    of_other as (partition by run_id, condition, stratum, layer, site, other_persona),
    of_all as (partition by run_id, condition, stratum, layer, site)
),
differences as (
  select
    *,
    product - with_mean - other_with_mean + mean_square as product_centered,
    greatest(0, square - 2 * with_mean + mean_square) as square_centered,
    greatest(0, square_other - 2 * other_with_mean + mean_square) as square_other_centered
  from centred
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
    persona,
    other_persona,
    greatest(-1, least(1, product / nullif(sqrt(square * square_other), 0))) as cosine,
    case
      when least(square_centered / square, square_other_centered / square_other) > 1e-12
        then greatest(-1, least(1, product_centered / sqrt(square_centered * square_other_centered)))
    end as cosine_centered,
    sqrt(square) as norm,
    sqrt(square_centered) as norm_centered,
    n,
    n_distinct,
    n_other,
    n_personas
  from differences
)
select * from final
