-- rfc_candidates: base and instruct readings of one family and size over the same prompts in the same form, and the precision that each was read in;
--   of several readings of the same weights the newest
-- grain: base_run, instruct_run, form
-- source: own; rfc_pairs are those of one precision, and the audit's missing_variant names instruct models that have none
-- columns:
--   base_run: entropy run of the base variant
--   instruct_run: entropy run of the instruct variant
--   family: architecture of both
--   base_checkpoint: checkpoint of base_run
--   instruct_checkpoint: checkpoint of instruct_run
--   prompt_set: name and version of the prompt set, of both
--   form: raw or chat, of both
--   base_precision: dtype, attention implementation and rounding of base_run
--   instruct_precision: the same of instruct_run
with readings as (
  select distinct run_id, checkpoint, prompt_set, form from head_entropies
),
sizes as (
  select
    run_id,
    checkpoint,
    max(id) as id,
    max(revision) as revision,
    max(family) as family,
    max(variant) as variant,
    max(n_layers) as n_layers,
    max(n_heads) as n_heads,
    max(rounding_of(quantisation)) as rounded
  from checkpoints
  group by run_id, checkpoint
),
known as (
  select
    r.*,
    s.family,
    s.variant,
    s.n_layers,
    s.n_heads,
    concat_ws(' ', e.dtype, e.attention_implementation, nullif(s.rounded, '')) as precision
  from readings as r
  join sizes as s using (run_id, checkpoint)
  join runs as e using (run_id)
  qualify row_number() over (partition by r.checkpoint, s.id, s.revision, r.prompt_set, r.form, precision order by e.finished desc, r.run_id) = 1
),
final as (
  select
    b.run_id as base_run,
    i.run_id as instruct_run,
    b.family,
    b.checkpoint as base_checkpoint,
    i.checkpoint as instruct_checkpoint,
    b.prompt_set,
    b.form,
    b.precision as base_precision,
    i.precision as instruct_precision
  from known as b
  join known as i
    on i.family = b.family and i.prompt_set is not distinct from b.prompt_set and i.form = b.form
    and i.n_layers is not distinct from b.n_layers and i.n_heads is not distinct from b.n_heads
  where b.variant = 'base' and i.variant = 'instruct'
)
select * from final
