-- condition_similarity: cosine between the mean SAE feature vectors, or the mean raw activations, of two system-prompt conditions
-- grain: run_id, basis, sae_id, layer, site, stratum, condition_a, condition_b
-- source: superkaiba/explore-persona-space, issue 127, typed from its text at the printed precision; intervals as own addition
-- columns:
--   origin: extracted or published
--   basis: features or activations: what is averaged and compared (features where published)
--   sae_id: the sparse autoencoder of a run of features, whose activations it encoded (NULL of a run of activations, and where published)
--   site: site of the residual stream that was read (NULL where published)
--   layer: layer that was read (NULL where a published file does not say it)
--   stratum: token position that was read: last (last token of the prompt), last_system, marker or answer_mean
--   condition_a: condition of the row
--   condition_b: condition of the column; both orders stand, and each condition with itself
--   cosine: cosine of the two mean vectors (NULL where one is all zero)
--   corrected: the cosine without what the differences of questions add to the length of a mean of few, which lowers a cosine (NULL: not computed, or outdated)
--   low: lower end of the 95% interval of corrected, jackknife over questions, this pair alone (NULL also where the questions do not differ)
--   high: upper end
--   n_clusters: questions read under both conditions
--   n_a: readings behind the mean of condition a (NULL where published)
--   n_b: of condition b
--   decimals: decimals a published cosine is printed with; it is exact to half a unit of the last
with read_examples as (
  select run_id, sae_id, layer, site, stratum, condition, count(*) as n_examples
  from feature_examples
  where condition is not null
  group by run_id, sae_id, layer, site, stratum, condition
),
feature_means as (
  select f.run_id, f.sae_id, f.layer, f.site, f.stratum, f.condition, f.feature as dimension, sum(f.value::double) / max(e.n_examples) as mean, max(e.n_examples) as n
  from features as f
  join read_examples as e using (run_id, sae_id, layer, site, stratum, condition)
  group by f.run_id, f.sae_id, f.layer, f.site, f.stratum, f.condition, f.feature
),
vectors as (
  select run_id, sae_id, layer, site, stratum, condition, vector from feature_examples where condition is not null
  union all
  select run_id, '' as sae_id, layer, site, stratum, condition, vector from activations where condition is not null
),
numbers as (
  select run_id, sae_id, layer, site, stratum, condition, unnest(vector) as number, generate_subscripts(vector, 1) as dimension from vectors
),
activation_means as (
  select run_id, sae_id, layer, site, stratum, condition, dimension, avg(number::double) as mean, count(*) as n
  from numbers
  group by run_id, sae_id, layer, site, stratum, condition, dimension
),
means as (
  select 'features' as basis, * from feature_means
  union all
  select 'activations' as basis, * from activation_means
),
-- a condition under which no feature fires is there with a norm of 0
places as (
  select 'features' as basis, *, n_examples as n from read_examples
  union all by name
  select basis, run_id, sae_id, layer, site, stratum, condition, max(n) as n from means where basis = 'activations' group by all
),
norms as (
  select p.basis, p.run_id, p.sae_id, p.layer, p.site, p.stratum, p.condition, coalesce(sqrt(sum(m.mean ** 2)), 0) as norm, max(p.n) as n
  from places as p
  left join means as m using (basis, run_id, sae_id, layer, site, stratum, condition)
  group by p.basis, p.run_id, p.sae_id, p.layer, p.site, p.stratum, p.condition
),
products as (
  select a.basis, a.run_id, a.sae_id, a.layer, a.site, a.stratum, a.condition as condition_a, b.condition as condition_b, sum(a.mean * b.mean) as product
  from means as a
  join means as b using (basis, run_id, sae_id, layer, site, stratum, dimension)
  group by a.basis, a.run_id, a.sae_id, a.layer, a.site, a.stratum, a.condition, b.condition
),
sure as (
  select s.inputs[1] as input_run, i.* from similarity_intervals as i join analysis_standing as s using (run_id) where s.is_current
),
final as (
  select
    run_id,
    'published' as origin,
    'features' as basis,
    null::varchar as sae_id,
    null::varchar as site,
    layer,
    stratum,
    condition_a,
    condition_b,
    cosine,
    null::bigint as n_a,
    null::bigint as n_b,
    decimals,
    null::double as corrected,
    null::double as low,
    null::double as high,
    null::integer as n_clusters
  from published_similarities
  union all
  select
    a.run_id,
    'extracted' as origin,
    a.basis,
    nullif(a.sae_id, '') as sae_id,
    a.site,
    a.layer,
    a.stratum,
    a.condition as condition_a,
    b.condition as condition_b,
    coalesce(p.product, 0) / nullif(a.norm * b.norm, 0) as cosine,
    a.n as n_a,
    b.n as n_b,
    null::integer as decimals,
    i.corrected,
    i.low,
    i.high,
    i.n_clusters
  from norms as a
  join norms as b using (basis, run_id, sae_id, layer, site, stratum)
  left join products as p
    on p.basis = a.basis
    and p.run_id = a.run_id
    and p.sae_id = a.sae_id
    and p.layer = a.layer
    and p.site = a.site
    and p.stratum = a.stratum
    and p.condition_a = a.condition
    and p.condition_b = b.condition
  left join sure as i
    on i.input_run = a.run_id
    and i.basis = a.basis
    and coalesce(i.sae_id, '') = a.sae_id
    and i.layer = a.layer
    and i.site = a.site
    and i.stratum = a.stratum
    and i.condition_a = a.condition
    and i.condition_b = b.condition
)
select * from final
