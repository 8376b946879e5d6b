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
with sides as (
  select p.*, d.question_id, d.example_id, d.sample_ix, d.row_ix, d.layer, d.delta as trained_delta, null::double as base_delta
  from subject_pairs as p
  join attention_delta as d on d.run_id = p.trained_run and d.subject = p.trained_subject
  where d.control = 'C1'
  union all
  select p.*, null, d.example_id, d.sample_ix, d.row_ix, d.layer, null, d.delta
  from subject_pairs as p
  join attention_delta as d on d.run_id = p.base_run and d.subject = p.base_subject
  where d.control = 'C1'
),
-- grouped and not joined: a join may be begun with the names of generations, which many runs share, and grow with the square of runs
final as (
  select
    trained_run,
    base_run,
    trained_subject,
    base_subject,
    origin,
    any_value(question_id) as question_id,
    example_id,
    sample_ix,
    row_ix,
    layer,
    any_value(sides.trained_delta) as trained_delta,
    any_value(sides.base_delta) as base_delta,
    any_value(sides.trained_delta) - any_value(sides.base_delta) as difference
  from sides
  group by trained_run, base_run, trained_subject, base_subject, origin, example_id, sample_ix, row_ix, layer
  having count(sides.trained_delta) > 0 and count(sides.base_delta) > 0
)
select * from final
