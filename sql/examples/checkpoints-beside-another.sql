-- Which checkpoints stand beside each other, and why.
select checkpoint, other_checkpoint, why
from related_checkpoints
order by checkpoint, why, other_checkpoint
