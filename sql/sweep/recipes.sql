-- recipes: how a checkpoint was trained: its parent, the persona it was trained on, the axes of a sweep and what else was set; trainings that differ in the seed alone
--   share the rest (one that was kept on the way of its training has none)
-- grain: checkpoint
-- source: own; the cards of checkpoints, as recorded by every run that read one, and the settings of its training where that is in the lake
-- columns:
--   recipe: short hash of the other settings of its training (data, marker and what stands before it, adapter, optimiser), equal where those are (NULL: not trained in
--     this lake)
with trained as (
  select checkpoint, max(recipe) as recipe from recipe_settings group by checkpoint
)
select
  c.checkpoint,
  max(c.parent) as parent,
  max(c.source_persona) as source_persona,
  max(c.lr) as lr,
  max(c.epochs) as epochs,
  max(c.seed) as seed,
  any_value(t.recipe) as recipe
from checkpoints as c
left join trained as t using (checkpoint)
where c.step is null
group by c.checkpoint
