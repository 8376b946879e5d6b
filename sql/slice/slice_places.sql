-- slice_places: the checkpoints and personas that anything is known of, and by which questions: what there is to be asked of the view slice
-- grain: checkpoint, persona
-- source: own; readouts, marker rates, activations, directions, features, circuits and role focus
-- columns:
--   persona: persona, or condition of the system prompt (NULL: figures of no persona, or of several together)
--   topics: topics of the view slice with figures of it, in the order of the alphabet
--   n_layers: decoder layers of the checkpoint (NULL: unknown)
with known as (
  select distinct checkpoint, persona, 'completions' as topic from marker_rates
  union all
  select distinct checkpoint, persona, 'attention' from subjects
  union all
  select distinct checkpoint, coalesce(condition, persona), 'personas' from persona_vectors
  union all
  select distinct checkpoint, coalesce(condition, persona), 'directions' from projections
  union all
  select distinct checkpoint, persona, 'directions' from steering
  union all
  select distinct checkpoint, condition, 'features' from feature_examples where condition is not null
  union all
  select distinct checkpoint, persona, 'circuits' from logit_lens
  union all
  select distinct checkpoint, persona, 'circuits' from patches
  union all
  select distinct checkpoint, persona, 'heads' from attributions
  union all
  select distinct checkpoint, persona, 'heads' from ablations
  union all
  select distinct coalesce(checkpoint, family), null, 'role focus' from rfc_layer
),
depths as (
  select checkpoint, max(n_layers) as n_layers from checkpoints group by checkpoint
  union all
  select checkpoint, max(layer) + 1 from published_deltas group by checkpoint
  union all
  select coalesce(checkpoint, family), max(n_layers) from rfc_layer group by all
),
layers as (
  select checkpoint, max(n_layers) as n_layers from depths group by checkpoint
),
final as (
  select k.checkpoint, nullif(k.persona, 'none') as persona, list(distinct k.topic order by k.topic) as topics, any_value(l.n_layers) as n_layers
  from known as k
  left join layers as l using (checkpoint)
  where k.checkpoint is not null
  group by k.checkpoint, nullif(k.persona, 'none')
)
select * from final
