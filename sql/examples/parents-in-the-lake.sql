-- Which checkpoints of this lake were trained from which others, and whether the card says so exactly.
select parent_checkpoint, parent_id, checkpoint, parent, is_exact
from lineage
order by parent_checkpoint, checkpoint
