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
alike as (
  select distinct on (a.run_id, b.run_id)
    a.run_id,
    b.run_id as other_run,
    a.extractor,
    a.checkpoint,
    b.checkpoint as other_checkpoint,
    case when a.inputs = b.inputs and len(a.inputs) > 0 then 'same tokens' when a.parent in (b.id, b.checkpoint) then 'parent' else 'sibling' end as why
  from cards as a
  join cards as b
    on a.extractor = b.extractor
    and a.run_id <> b.run_id
    and (
      (a.prompts is not distinct from b.prompts and a.parent in (b.id, b.checkpoint) and a.checkpoint <> b.checkpoint)
      or (a.prompts is not distinct from b.prompts and a.checkpoint <> b.checkpoint and len(a.inputs) = 0 and len(b.inputs) = 0
        and (a.parent = b.parent or (a.parent is null and b.parent is null and a.source_persona is not null and b.source_persona is not null)))
      or (a.inputs = b.inputs and len(a.inputs) > 0)
    )
),
final as (
  select * from alike
  union
  select other_run, run_id, extractor, other_checkpoint, checkpoint, why from alike where why = 'parent'
)
select * from final
