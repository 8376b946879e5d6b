-- compared_runs: two runs of one extractor whose figures stand beside each other: of a checkpoint and its parent, of two cells trained from one parent, or of two
--   readers of the same tokens
-- grain: run_id, other_run
-- source: own; runs of prompt sets of other names are not compared
-- columns:
--   run_id: one of them; each pair stands there twice, once from either side
--   other_run: the run its figures stand beside
--   extractor: what wrote both
--   checkpoint: checkpoint that was read in run_id
--   other_checkpoint: checkpoint that was read in other_run
--   why: parent, sibling or same tokens
with made as (
  select run_id, extractor, inputs, split_part(prompt_set, '@', 1) as prompts, checkpoint from runs where kind = 'extract'
),
cards as (
  select m.*, c.id, c.parent, c.source_persona
  from made as m
  left join checkpoints as c using (run_id, checkpoint)
),
parents as (
  select * from lineage
),
unfed as (
  select * from cards where len(inputs) = 0
),
found as (
  select a.run_id, b.run_id as other_run, a.extractor, a.checkpoint, b.checkpoint as other_checkpoint, 1 as place
  from cards as a
  join cards as b on b.extractor = a.extractor and b.inputs = a.inputs
  where len(a.inputs) > 0
  union all
  select a.run_id, b.run_id, a.extractor, a.checkpoint, b.checkpoint, 2
  from cards as a
  join parents as p on p.checkpoint = a.checkpoint and p.parent = a.parent
  join cards as b
    on b.checkpoint = p.parent_checkpoint and b.id is not distinct from p.parent_id and b.extractor = a.extractor and b.prompts is not distinct from a.prompts
  union all
  select a.run_id, b.run_id, a.extractor, a.checkpoint, b.checkpoint, 3
  from unfed as a
  join unfed as b on b.extractor = a.extractor and b.prompts is not distinct from a.prompts and b.parent = a.parent
  where a.checkpoint <> b.checkpoint
  union all
  select a.run_id, b.run_id, a.extractor, a.checkpoint, b.checkpoint, 3
  from unfed as a
  join unfed as b on b.extractor = a.extractor and b.prompts is not distinct from a.prompts
  where a.checkpoint <> b.checkpoint and a.parent is null and b.parent is null and a.source_persona is not null and b.source_persona is not null
),
alike as (
  select run_id, other_run, extractor, checkpoint, other_checkpoint, ['same tokens', 'parent', 'sibling'][min(place)] as why
  from found
  where run_id <> other_run
  group by run_id, other_run, extractor, checkpoint, other_checkpoint
),
final as (
  select * from alike
  union
  select other_run, run_id, extractor, other_checkpoint, checkpoint, why from alike where why = 'parent'
)
select * from final
