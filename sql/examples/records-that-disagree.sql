-- Two published values of one figure that differ, the surest first.
select checkpoint, other_checkpoint, quantity, persona, value, other_value, difference, p, matched_by, source_file, other_source_file
from record_disagreements
order by p nulls last, checkpoint, quantity, persona
