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
unpaired as (
  select
    c.instruct_checkpoint as checkpoint,
    c.instruct_run as run_id,
    any_value(c.instruct_precision) as precision,
    min(c.base_run) as base_run,
    arg_min(c.base_checkpoint, c.base_run) as base_checkpoint,
    arg_min(c.base_precision, c.base_run) as base_precision
  from rfc_candidates as c
  anti join rfc_pairs as p on p.instruct_run = c.instruct_run
  group by c.instruct_checkpoint, c.instruct_run
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
