-- Which checkpoints were force-fed whose tokens, and whether the reader is the parent.
select trained_checkpoint, base_checkpoint, persona, origin, is_parent, parent, base_id
from reader_pairs
order by trained_checkpoint, base_checkpoint
