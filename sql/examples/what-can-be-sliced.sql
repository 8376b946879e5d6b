-- Which checkpoints and personas anything is known of, and by which questions.
select checkpoint, persona, topics, n_layers
from slice_places
order by checkpoint, persona
