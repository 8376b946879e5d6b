-- related_checkpoints: which checkpoints of the lake stand beside another one: its parent or what was trained from it, readers of the same tokens, trainings of one parent
-- grain: checkpoint, other_checkpoint
-- source: own; of cards and runs by name, without asking whether two of their runs can be compared, which compared_runs tells
-- columns:
--   checkpoint: one of them; each pair stands there twice, once from either side
--   other_checkpoint: the checkpoint that stands beside it
--   why: the nearest of parent (either is the other's), same tokens and sibling
with cards as (
  select distinct checkpoint, parent, source_persona from checkpoints
),
named as (
  select checkpoint, parent from cards where parent is not null
  union
  select checkpoint, parent_checkpoint from lineage
),
orphans as (
  select distinct checkpoint from cards where parent is null and source_persona is not null
),
readers as (
  select distinct extractor, inputs, checkpoint from runs where kind = 'extract' and len(inputs) > 0 and checkpoint is not null
),
found as (
  select checkpoint, parent_checkpoint as other_checkpoint, 1 as place from lineage
  union all
  select parent_checkpoint, checkpoint, 1 from lineage
  union all
  select a.checkpoint, b.checkpoint, 2 from readers as a join readers as b on b.extractor = a.extractor and b.inputs = a.inputs
  union all
  select a.checkpoint, b.checkpoint, 3 from named as a join named as b on b.parent = a.parent
  union all
  select a.checkpoint, b.checkpoint, 3 from orphans as a cross join orphans as b
)
select checkpoint, other_checkpoint, ['parent', 'same tokens', 'sibling'][min(place)] as why
from found
where checkpoint <> other_checkpoint
group by checkpoint, other_checkpoint
