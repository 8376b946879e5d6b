-- checkpoint_differences: what two checkpoints differ in: architecture and recipe as their cards say, and the settings of the trainings that made them
-- grain: checkpoint, other_checkpoint, origin, name
-- source: own; tables checkpoints and parameters. Each pair stands there twice, once from either side; a checkpoint that was read or trained several times has all its
--   values. Which files the weights lie in is left out
-- columns:
--   other_checkpoint: the checkpoint it is compared with
--   origin: card (what runs recorded of the weights) or training (settings of the run that made them)
--   name: the property or setting
--   value: its value, several ones separated by a comma (NULL: not recorded)
--   other_value: that of other_checkpoint
with cards as (
  select distinct
    checkpoint,
    id,
    revision,
    family,
    variant,
    parent,
    source_persona,
    lr::varchar as lr,
    epochs::varchar as epochs,
    seed::varchar as seed,
    n_layers::varchar as n_layers,
    n_heads::varchar as n_heads,
    n_kv_heads::varchar as n_kv_heads,
    d_model::varchar as d_model,
    vocab_size::varchar as vocab_size,
    lora_r::varchar as lora_r,
    lora_alpha::varchar as lora_alpha,
    lora_dropout::varchar as lora_dropout,
    lora_targets,
    quantisation,
    step::varchar as step
  from checkpoints
),
properties as (
  unpivot cards on columns(* exclude checkpoint) into name name value value
),
trainings as (
  select run_id, checkpoint from runs where extractor = 'marker-lora'
),
recorded as not materialized ( -- each use is bound to checkpoints of its own, and reads theirs alone
  select checkpoint, 'card' as origin, name, value from properties
  union all
  select t.checkpoint, 'training', p.name, p.value from parameters as p join trainings as t using (run_id)
),
settings as not materialized (
  select checkpoint, origin, name, string_agg(distinct value, ', ' order by value) as value from recorded where checkpoint is not null group by checkpoint, origin, name
),
names as (
  select distinct origin, name from recorded where checkpoint is not null
),
known as (
  select distinct checkpoint, origin from recorded where checkpoint is not null
),
-- a setting that one of two trainings does not have is a difference; a training that is not in the lake is none
filled as not materialized (
  select k.checkpoint, n.origin, n.name, s.value
  from known as k
  join names as n using (origin)
  left join settings as s using (checkpoint, origin, name)
),
final as (
  select a.checkpoint, b.checkpoint as other_checkpoint, a.origin, a.name, a.value, b.value as other_value
  from filled as a
  join filled as b using (origin, name)
  where a.checkpoint <> b.checkpoint and a.value is distinct from b.value
)
select * from final
