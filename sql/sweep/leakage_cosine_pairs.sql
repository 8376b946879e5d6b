-- leakage_cosine_pairs: cosine of a persona's representation to the source's beside the marker's leakage to it: the points of leakage_cosine
-- grain: run_id, rates_run, source, layer, stratum, site, condition, centered, marker, lr, epochs, persona
-- source: superkaiba/explore-persona-space (leakage_cosine_analysis, cosine_leakage_correlation, cross_source_cosine_analysis);
--   own: cosines of the mean activations in the checkpoint the marker was trained into, or after training in the trained one, where these were extracted
-- columns:
--   run_id: the run the cosines come from: an activations run, or a published file
--   origin: extracted or published
--   record: kind of published file (NULL for own activations)
--   layer: layer as the file counts it; own from 0
--   stratum: place the activations were read at (NULL for published cosines)
--   site: where in the layer they were read (NULL for published cosines)
--   vectors_from: checkpoint the activations were read in (NULL for published cosines)
--   reader: parent (the checkpoint training started from, as published) or own (the trained checkpoint itself)
--   rates_run: the completions run the rate comes from (NULL where it stands beside the cosine in a published file)
--   checkpoint: checkpoint that leaks (NULL where a published file does not name it)
--   marker: marker whose rate it is (NULL for published cosines)
--   role: what the persona was in the training: negative, held_out or not recorded (as where the rate stands beside the cosine in a published file)
--   centered: the mean over personas was subtracted first (NULL where a published file does not say)
--   cosine: cosine of the persona's mean activation with the source's
--   rate: share of completions with the marker under that persona
with cosines as (
  select * from persona_cosines
),
rates as (
  select run_id, checkpoint, persona, role, marker, category, rate from marker_rates where origin <> 'published'
),
described as (
  select run_id, checkpoint, id, revision, parent, source_persona, lr, epochs, seed from checkpoints where step is null
),
readers as (
  select * from described where run_id in (select run_id from cosines)
),
leaks as (
  select
    t.run_id as rates_run,
    t.checkpoint,
    t.id,
    t.revision,
    t.parent,
    t.source_persona as source,
    t.lr,
    t.epochs,
    t.seed,
    r.persona,
    r.role,
    r.marker,
    r.category,
    r.rate
  from described as t
  join rates as r using (run_id, checkpoint)
  where r.persona <> t.source_persona and r.rate is not null
),
parents as (
  select * from lineage
),
read as (
  select l.*, v.run_id, v.checkpoint as vectors_from, 'parent' as reader
  from leaks as l
  join parents as p on p.checkpoint = l.checkpoint and p.parent = l.parent
  join readers as v on v.checkpoint = p.parent_checkpoint and v.id = p.parent_id
  union all
  select l.*, v.run_id, v.checkpoint, 'own'
  from leaks as l
  join readers as v on v.id = l.id and v.revision = l.revision
),
extracted as (
  select p.*, c.layer, c.stratum, c.site, c.condition, c.cosine as raw, c.cosine_centered
  from read as p
  join cosines as c on c.run_id = p.run_id and c.persona = p.source and c.other_persona = p.persona
),
doubled as (
  select *, false as centered, raw as cosine from extracted
  union all
  select *, true, cosine_centered from extracted
),
final as (
  select
    run_id,
    'extracted' as origin,
    null::varchar as record,
    source,
    layer,
    stratum,
    site,
    condition,
    vectors_from,
    reader,
    rates_run,
    checkpoint,
    marker,
    lr,
    epochs,
    seed,
    persona,
    role,
    category,
    centered,
    cosine,
    rate
  from doubled
  where cosine is not null
  union all
  select
    run_id,
    'published',
    record,
    source,
    layer,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    lr,
    epochs,
    null,
    persona,
    'not recorded',
    category,
    centered,
    cosine,
    rate
  from published_cosines
  where cosine is not null and rate is not null
)
select * from final
