-- How far the marker leaks, by what a persona was in the training: the source, negatives and held-out personas.
-- chart: scatter x=source_rate y=max_bystander_rate colour=origin
select checkpoint, source, lr, epochs, source_rate, assistant_rate, max_negative_rate, max_held_out_rate, max_bystander_rate, max_bystander_persona, origin
from leakage_summary
order by checkpoint
limit 5000
