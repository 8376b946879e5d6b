-- lineage: which checkpoints of the lake another one was trained from, whatever its card calls its parent
-- grain: checkpoint, parent, parent_checkpoint, parent_id
-- source: own; a card names its parent by id, short name or folder, or by another packing of the same weights elsewhere, as the macro is_made_from has it
-- columns:
--   checkpoint: the checkpoint that was trained
--   parent: what its card says that it was trained from
--   parent_checkpoint: a checkpoint of the lake that is that
--   parent_id: its id
--   is_exact: its id, short name or folder is what the card says; false where only the name of the weights is the same
with cards as (
  select distinct checkpoint, id, path, parent from checkpoints
),
parents as (
  select parent, weights_name(parent) as weights from (select distinct parent from cards where parent is not null)
),
known as (
  select distinct checkpoint, id, path, weights_name(id) as id_weights, weights_name(path) as path_weights from cards
),
found as (
  select p.parent, k.checkpoint as parent_checkpoint, k.id as parent_id, bool_or(coalesce(p.parent in (k.id, k.checkpoint, k.path), false)) as is_exact
  from parents as p
  join known as k on is_made_from(p.parent, p.weights, k.id, k.checkpoint, k.path, k.id_weights, k.path_weights)
  group by p.parent, k.checkpoint, k.id
)
select distinct c.checkpoint, f.parent, f.parent_checkpoint, f.parent_id, f.is_exact
from cards as c
join found as f on f.parent = c.parent
where f.parent_checkpoint <> c.checkpoint
