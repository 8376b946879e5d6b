-- In what the checkpoints of this lake differ, as their cards and trainings say: name two in a filter to see them alone.
select checkpoint, other_checkpoint, origin, name, value, other_value
from checkpoint_differences
where checkpoint < other_checkpoint
order by checkpoint, other_checkpoint, origin, name
