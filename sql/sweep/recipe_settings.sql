-- recipe_settings: settings of a training that are no axes of a sweep: data, marker and what stands before it, adapter, optimiser
-- grain: run_id, name
-- source: own; what is set of trainings in the lake but for persona, learning rate, epochs and seed, and what leaves the weights as they are
-- columns:
--   run_id: run of the training
--   checkpoint: checkpoint that it made
--   recipe: short hash of all of them: the same for trainings that were given the same
with given as (
  select r.run_id, r.checkpoint, p.name, p.value
  from runs as r
  join parameters as p using (run_id)
  where r.kind = 'train'
    and r.extractor <> 'train-sae'
    and p.name not in ('source_persona', 'lr', 'epochs', 'seed', 'keep_steps', 'gradient_checkpointing')
),
hashed as (
  select run_id, left(md5(string_agg(name || '=' || coalesce(value, ''), chr(10) order by name)), 8) as recipe from given group by run_id
)
select g.*, h.recipe
from given as g
join hashed as h using (run_id)
