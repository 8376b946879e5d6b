-- recipes: how a checkpoint was trained: its parent, the persona it was trained on and the axes of a sweep; trainings that differ in the seed alone share the rest
--   (one that was kept on the way of its training has none)
-- grain: checkpoint
-- source: own; the cards of checkpoints, as recorded by every run that read one
select checkpoint, max(parent) as parent, max(source_persona) as source_persona, max(lr) as lr, max(epochs) as epochs, max(seed) as seed
from checkpoints
where step is null
group by checkpoint
