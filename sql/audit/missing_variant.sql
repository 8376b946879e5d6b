-- missing_variant: a model family with a base or an instruct model only, or with both in precisions that make no pair, so that nothing can be compared
-- grain: subject
-- source: own
-- severity: warning
-- page: role_focus
-- columns:
--   subject: model family, or an instruct model of it
with variants as (
  select origin, family, min(variant) as variant, count(distinct variant) as n from rfc_layer group by origin, family
),
readings as (
  select distinct
    e.run_id,
    e.checkpoint,
    e.form,
    e.prompt_set,
    c.family,
    c.variant,
    c.n_layers,
    c.n_heads,
    concat_ws(' ', r.dtype, r.attention_implementation, nullif(rounding_of(c.quantisation), '')) as precision
  from head_entropies as e
  join checkpoints as c using (run_id, checkpoint)
  join runs as r using (run_id)
),
unpaired as (
  select
    i.checkpoint,
    i.run_id,
    any_value(i.precision) as precision,
    min(b.run_id) as base_run,
    arg_min(b.checkpoint, b.run_id) as base_checkpoint,
    arg_min(b.precision, b.run_id) as base_precision
  from readings as i
  join readings as b
    on b.family = i.family and b.form = i.form and b.prompt_set is not distinct from i.prompt_set
    and b.n_layers is not distinct from i.n_layers and b.n_heads is not distinct from i.n_heads and b.precision <> i.precision
  anti join rfc_pairs as p on p.instruct_run = i.run_id
  where b.variant = 'base' and i.variant = 'instruct'
  group by i.checkpoint, i.run_id
),
final as (
  select
    subject_of(family, origin) as subject,
    format('only the {} model is in the lake: no difference between instruct and base can be made', variant) as finding,
    format('select variant, count(*) as n_layers from rfc_layer where family = {} group by variant', sql_text(family)) as evidence
  from variants
  where n = 1
  union all
  select
    subject_of(checkpoint, run_id),
    format('was read in {}, and {} in {}: no difference between instruct and base is made of other precisions', precision, base_checkpoint, base_precision),
    format(
      'select r.run_id, r.checkpoint, r.dtype, r.attention_implementation, c.quantisation from runs as r join checkpoints as c using (run_id, checkpoint) '
      || 'where r.run_id in ({}, {})',
      sql_text(run_id),
      sql_text(base_run)
    )
  from unpaired
)
select * from final
