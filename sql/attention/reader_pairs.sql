-- reader_pairs: a checkpoint on its own tokens and another checkpoint force-fed the same tokens, read in the same precision, whoever the other one is
-- grain: trained_run, base_run
-- source: issue 224 (trained against base on identical tokens); of published files the pairs with equally many rows
-- columns:
--   trained_run: run of the checkpoint that sampled the tokens
--   base_run: run of the checkpoint that was force-fed them
--   trained_subject: subject of trained_run
--   base_subject: subject of base_run
--   trained_checkpoint: checkpoint that sampled the tokens
--   base_checkpoint: checkpoint that was force-fed them
--   origin: extracted or published
--   parent: what trained_checkpoint was trained from (NULL where nothing says so)
--   base_id: id of the checkpoint that was force-fed
--   is_parent: base_checkpoint is that parent, by id, short name or folder, wherever the folder lies; true where the parent is not known
with extracts as (
  select run_id, dtype, attention_implementation from runs where kind = 'extract'
),
readings as (
  select run_id, subject, checkpoint, tokens_run, persona, forced from readouts
),
deltas as (
  select
    run_id,
    subject,
    any_value(checkpoint) as checkpoint,
    any_value(tokens_from) as tokens_from,
    count(distinct row_ix) as n_rows
  from published_deltas
  group by run_id, subject
),
extracted as (
  select p.*, e.dtype, e.attention_implementation from readings as p join extracts as e using (run_id)
),
cards as (
  select run_id, checkpoint, id, parent, path, rounding_of(quantisation) as rounded from checkpoints
),
pairs as (
  select
    t.run_id as trained_run,
    b.run_id as base_run,
    t.subject as trained_subject,
    b.subject as base_subject,
    t.checkpoint as trained_checkpoint,
    b.checkpoint as base_checkpoint,
    t.persona,
    'extracted' as origin
  from extracted as t
  join extracted as b
    on b.tokens_run = t.tokens_run
    and b.persona = t.persona
    and b.dtype is not distinct from t.dtype
    and b.attention_implementation is not distinct from t.attention_implementation
  where b.forced and not t.forced
  union all
  select
    t.run_id,
    b.run_id,
    t.subject,
    b.subject,
    t.checkpoint,
    b.checkpoint,
    t.tokens_from,
    'published'
  from deltas as t
  join deltas as b on b.tokens_from = t.tokens_from and b.n_rows = t.n_rows
  where t.checkpoint = t.tokens_from and b.checkpoint <> b.tokens_from
),
final as (
  select
    p.*,
    t.parent,
    b.id as base_id,
    t.parent is null
    or b.id is null
    or is_made_from(t.parent, weights_name(t.parent), b.id, b.checkpoint, b.path, weights_name(b.id), weights_name(b.path)) as is_parent
  from pairs as p
  left join cards as t on t.run_id = p.trained_run and t.checkpoint = p.trained_checkpoint
  left join cards as b on b.run_id = p.base_run and b.checkpoint = p.base_checkpoint
  where coalesce(t.rounded = b.rounded, true)
)
select * from final
