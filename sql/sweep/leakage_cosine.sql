-- leakage_cosine: does the marker leak to personas whose representation is close to the source's? Rank correlation of cosine with leakage
-- grain: run_id, scope, source, layer, stratum, site, condition, centered, marker, lr, epochs, category
-- source: superkaiba/explore-persona-space (leakage_cosine_analysis, cosine_leakage_correlation, cross_source_cosine_analysis); one point per persona as own addition
-- columns:
--   run_id: the run the cosines come from: an activations run, or a published file
--   origin: extracted or published
--   record: kind of published file (NULL for own activations)
--   source: source persona (NULL: pooled over sources)
--   layer: layer as the file counts it; own from 0
--   stratum: place the activations were read at (NULL for published cosines)
--   site: where in the layer they were read (NULL for published cosines)
--   centered: the mean over personas was subtracted first (NULL where a published file does not say)
--   marker: marker whose leakage it is (NULL for published cosines)
--   reader: parent (cosines in the checkpoint training started from, as published) or own (in the trained checkpoint itself)
--   lr: learning rate (NULL: pooled over configurations)
--   epochs: epochs (NULL: pooled over configurations)
--   category: category of personas (NULL: all)
--   configuration: lr and epochs as text, or pooled
--   n: pairs of persona and run of a checkpoint, so that one that was sampled twice counts twice (as published where the file has no pairs)
--   n_personas: personas among them, counted per source
--   n_distinct: distinct leakage rates among them
--   rho: Spearman correlation over the pairs, average ranks (NULL where cosine or leakage does not vary, or the file has no pairs)
--   p: two-sided p of rho, Student t with n - 2 degrees of freedom; pairs taken as independent
--   rho_personas: Spearman correlation with one point per persona: its mean rate over configurations
--   p_personas: its two-sided p, Student t with n_personas - 2 degrees of freedom
--   rho_dyads: pooled over sources: Spearman correlation over pairs of source and persona that every source has, mean rate over configurations (NULL: not
--     computed, or of one source)
--   n_dyads: these pairs
--   p_dyads: its two-sided p: personas permuted as wholes, sources among sources (Mantel 1967), since a persona's pairs with all sources go together
--   rho_published: rho as published (NULL where the file has none, or NaN)
--   p_published: p as published
with pairs as (
  select * from leakage_cosine_pairs
),
files as (
  select run_id, layer, count(distinct source) as n_sources, count(distinct (lr, epochs)) filter (lr is not null or epochs is not null) as n_configurations
  from pairs
  group by run_id, layer
),
widened as (
  select
    p.run_id,
    p.origin,
    p.record,
    p.reader,
    p.layer,
    p.stratum,
    p.site,
    p.condition,
    p.centered,
    p.marker,
    p.source,
    p.lr,
    p.epochs,
    p.category,
    p.source as of_source,
    p.persona,
    round(p.cosine, 12) as cosine, -- of two sources to each other it is the same both ways, and must stay a tie
    p.rate,
    f.n_sources,
    f.n_configurations
  from pairs as p
  join files as f using (run_id, layer)
),
leveled as (
  select * replace (null::varchar as category) from widened where n_configurations > 1
  union all
  select * replace (null::double as lr, null::double as epochs, null::varchar as category) from widened
  union all
  select * replace (null::varchar as source, null::double as lr, null::double as epochs, null::varchar as category) from widened where n_sources > 1
  union all
  select * replace (null::varchar as source, null::double as lr, null::double as epochs) from widened where category is not null
),
-- rounded, since equal means summed in another order must stay ties
averaged as (
  select
    run_id,
    origin,
    record,
    reader,
    layer,
    stratum,
    site,
    condition,
    centered,
    marker,
    source,
    lr,
    epochs,
    category,
    of_source,
    persona,
    round(avg(cosine), 12) as cosine,
    round(avg(rate), 12) as rate
  from leveled
  group by all
),
points as (
  select * exclude (n_sources, n_configurations), false as by_persona from leveled
  union all
  select *, true from averaged
),
keyed as (
  select *, row(run_id, layer, stratum, site, condition, centered, marker, source, lr, epochs, category, by_persona) as cell from points
),
ranked as (
  select *, average_rank(cosine, cell) as cosine_rank, average_rank(rate, cell) as rate_rank from keyed
),
correlated as (
  select
    run_id,
    any_value(origin) as origin,
    any_value(record) as record,
    any_value(reader) as reader,
    layer,
    stratum,
    site,
    condition,
    centered,
    marker,
    source,
    lr,
    epochs,
    category,
    by_persona,
    count(*) as n,
    count(distinct rate) as n_distinct,
    profile_corr(cosine_rank, rate_rank) as rho
  from ranked
  group by run_id, layer, stratum, site, condition, centered, marker, source, lr, epochs, category, by_persona
),
computed as (
  select
    run_id,
    any_value(origin) as origin,
    any_value(record) as record,
    any_value(reader) as reader,
    layer,
    stratum,
    site,
    condition,
    centered,
    marker,
    source,
    lr,
    epochs,
    category,
    'all' as scope,
    max(n) filter (not by_persona) as n,
    max(n) filter (by_persona) as n_personas,
    max(n_distinct) filter (not by_persona) as n_distinct,
    max(rho) filter (not by_persona) as rho,
    max(rho) filter (by_persona) as rho_personas
  from correlated
  group by run_id, layer, stratum, site, condition, centered, marker, source, lr, epochs, category
),
dyads as (
  select t.*
  from dyad_tests as t
  join analysis_standing as s using (run_id)
  where s.is_current
  qualify row_number() over (partition by t.cosines_run, t.layer, t.stratum, t.site, t.condition, t.centered, t.marker, t.category order by s.place) = 1
),
final as (
  select
    coalesce(c.run_id, o.run_id) as run_id,
    coalesce(c.origin, 'published') as origin,
    coalesce(c.record, o.record) as record,
    coalesce(c.scope, o.scope) as scope,
    coalesce(c.source, o.source) as source,
    coalesce(c.layer, o.layer) as layer,
    c.reader,
    c.stratum,
    c.site,
    c.condition,
    c.centered,
    c.marker,
    coalesce(c.lr, o.lr) as lr,
    coalesce(c.epochs, o.epochs) as epochs,
    coalesce(c.category, o.category) as category,
    coalesce(format('lr {:g}, {:g} epochs', coalesce(c.lr, o.lr), coalesce(c.epochs, o.epochs)), 'pooled') as configuration,
    coalesce(c.n, o.n) as n,
    c.n_personas,
    c.n_distinct,
    c.rho,
    pearson_p(c.rho, c.n) as p,
    c.rho_personas,
    pearson_p(c.rho_personas, c.n_personas) as p_personas,
    d.rho as rho_dyads,
    d.n as n_dyads,
    d.p as p_dyads,
    o.spearman_rho as rho_published,
    o.spearman_p as p_published
  from computed as c
  full join published_correlations as o
    on o.run_id = c.run_id
    and o.scope = c.scope
    and o.layer = c.layer
    and o.source is not distinct from c.source
    and o.lr is not distinct from c.lr
    and o.epochs is not distinct from c.epochs
    and o.category is not distinct from c.category
  left join dyads as d
    on c.source is null
    and d.cosines_run = c.run_id
    and d.layer is not distinct from c.layer
    and d.stratum is not distinct from c.stratum
    and d.site is not distinct from c.site
    and d.condition is not distinct from c.condition
    and d.centered is not distinct from c.centered
    and d.marker is not distinct from c.marker
    and d.category is not distinct from c.category
)
select * from final
