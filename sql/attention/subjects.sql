-- subjects: who read whose tokens: every readout in the lake, extracted or published
-- grain: run_id, subject
-- source: own
-- columns:
--   tokens_from: checkpoint that sampled the tokens
--   forced: the reader is another checkpoint than the one that sampled the tokens
--   origin: extracted or published
--   n_positives: generations with the marker that were read
--   n_negatives: generations without it that were read (NULL for a published deltas file)
--   n_clusters: questions among the positives (NULL where the published rows are not joined to their positives)
with extracts as (
  select run_id, dtype, attention_implementation, finished from runs where kind = 'extract'
),
readings as (
  select * from readouts where n_positives + n_negatives > 0
),
deltas as (
  select run_id, subject, checkpoint, tokens_from, row_ix from published_deltas group by run_id, subject, checkpoint, tokens_from, row_ix
),
ingested as (
  select run_id, finished from runs where kind = 'ingest'
),
final as (
  select
    r.run_id,
    r.subject,
    r.checkpoint,
    r.tokens_from,
    r.persona,
    r.tokens_run,
    r.forced,
    'extracted' as origin,
    r.n_positives,
    r.n_negatives,
    r.n_clusters,
    e.dtype,
    e.attention_implementation,
    e.finished
  from readings as r
  join extracts as e using (run_id)
  union all
  select
    d.run_id,
    d.subject,
    any_value(d.checkpoint),
    any_value(d.tokens_from),
    any_value(d.tokens_from),
    any_value(g.tokens_run),
    any_value(d.checkpoint) <> any_value(d.tokens_from),
    'published',
    count(*),
    null,
    nullif(count(distinct g.question_id), 0),
    null,
    null,
    any_value(i.finished)
  from deltas as d
  join ingested as i using (run_id)
  left join published_rows as g using (run_id, row_ix)
  group by d.run_id, d.subject
)
select * from final
