-- persona_vectors: mean activation of a persona, over its questions and repeats, at one place, layer and site
-- key: run_id, persona, condition, stratum, layer, site
-- sort: stratum, site, layer, persona, condition
-- rollup of: activations
with numbers as (
  select
    run_id,
    subject,
    checkpoint,
    persona,
    condition,
    stratum,
    layer,
    site,
    unnest(vector) as value,
    unnest(range(len(vector))) as dimension
  from activations
),
means as (
  select run_id, subject, checkpoint, persona, condition, stratum, layer, site, dimension, avg(value)::real as value from numbers group by all
),
vectors as (
  select run_id, subject, checkpoint, persona, condition, stratum, layer, site, list(value order by dimension) as vector from means group by all
),
counts as (
  select run_id, persona, condition, stratum, layer, site, count(*) as n, count(distinct input_hash) as n_distinct, count(distinct question_id) as n_questions
  from activations
  group by all
),
final as (
  select
    v.run_id,
    v.subject,
    v.checkpoint,
    v.persona,
    v.condition,
    v.stratum,
    v.layer,
    v.site,
    c.n::integer as n, -- vectors averaged
    c.n_distinct::integer as n_distinct, -- distinct inputs among them: 1 where all questions share the tokens read, so that there is no variation to test with
    c.n_questions::integer as n_questions, -- questions among them
    v.vector
  from vectors as v
  join counts as c
    on c.run_id = v.run_id
    and c.stratum = v.stratum
    and c.layer = v.layer
    and c.site = v.site
    and c.persona is not distinct from v.persona
    and c.condition is not distinct from v.condition
)
select * from final
