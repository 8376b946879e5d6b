-- paired_deltas: trained and base delta of the same generation and the same control, side by side
-- grain: trained_run, base_run, example_id, sample_ix, row_ix, layer
-- source: issue 224 (row i of both files is the same generation); extracted rows pair by example and repeat
-- columns:
--   trained_run: run of the checkpoint that sampled the tokens
--   base_run: run of the checkpoint that was force-fed them
--   trained_subject: subject of trained_run
--   base_subject: subject of base_run
--   origin: extracted or published
--   row_ix: row of the published deltas files (NULL for an extracted row)
--   trained_delta: marker minus C1 on the system prompt, trained checkpoint
--   base_delta: the same of the force-fed checkpoint
--   difference: trained_delta minus base_delta
with deltas as (
  select run_id, subject, question_id, example_id, sample_ix, row_ix, layer, delta from attention_delta where control = 'C1'
),
final as (
  select
    p.trained_run,
    p.base_run,
    p.trained_subject,
    p.base_subject,
    p.origin,
    t.question_id,
    t.example_id,
    t.sample_ix,
    t.row_ix,
    t.layer,
    t.delta as trained_delta,
    b.delta as base_delta,
    t.delta - b.delta as difference
  from subject_pairs as p
  join deltas as t on t.run_id = p.trained_run and t.subject = p.trained_subject
  join deltas as b
    on b.run_id = p.base_run
    and b.subject = p.base_subject
    and b.layer = t.layer
    and b.example_id is not distinct from t.example_id
    and b.sample_ix is not distinct from t.sample_ix
    and b.row_ix is not distinct from t.row_ix
)
select * from final
