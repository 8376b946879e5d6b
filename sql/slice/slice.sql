-- slice: everything that the lake knows of one checkpoint, persona and layer, from all studies: one figure a row, with its n, interval, method and where it stands
-- grain: source, run_id, base_run, checkpoint, subject, persona, layer, head, measure, other, place
-- source: own; the views of this room, each of which takes its figures from a view of a study and computes none. DuckDB plans the union far longer than its parts
-- columns:
--   topic: attention, completions, personas, directions, features, role focus, circuits or heads
--   checkpoint: checkpoint that the figure is of; of a comparison the trained or instruct one; of published figures of a family its name
--   subject: checkpoint plus whose tokens it read
--   persona: persona, or condition of the system prompt, the figure is of (NULL: of none, or of several together)
--   layer: decoder layer, from 0; -1 the embeddings (NULL: of the whole model)
--   head: head of the layer (NULL: of the whole layer)
--   measure: what was measured, in words
--   other: what it is held against: other checkpoint, persona, pair of conditions, donor (NULL: nothing)
--   other_checkpoint: checkpoint whose figure was subtracted, on the same inputs (NULL: no difference of two checkpoints)
--   place: where it was read: stratum, site, phrasing, autoencoder, set of prompts (NULL: said by the measure)
--   value: the figure
--   low: lower end of its 95% interval, by question where questions are known (NULL: none)
--   high: upper end
--   unit: what value counts in
--   n: what the figure rests on, counted in n_of (NULL: not recorded)
--   n_of: what n counts
--   n_clusters: questions among them (NULL: unknown, or not clustered)
--   p: two-sided p, adjusted as method says (NULL: none)
--   method: how the figure, its interval and its p came about
--   verdict: what rules or tests say of it, or why there is none (NULL: nothing)
--   origin: extracted, brought (sampled elsewhere) or published
--   source: view the figure comes from, which knows more of it
--   page: page of the app that shows it, as in its address
--   run_id: run the figure comes from; of features the analysis that tested them
--   base_run: second run behind it: the untrained reader, ablations beside attributions, features behind their tests (NULL: none)
from slice_answers
union all by name
from slice_attention
union all by name
from slice_cosines
union all by name
from slice_directions
union all by name
from slice_features
union all by name
from slice_focus
union all by name
from slice_focus_heads
union all by name
from slice_gates
union all by name
from slice_heads
union all by name
from slice_lens
union all by name
from slice_markers
union all by name
from slice_patching
union all by name
from slice_training
union all by name
from slice_worths
