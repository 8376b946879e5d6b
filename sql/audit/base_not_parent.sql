-- base_not_parent: a trained checkpoint's tokens were read by another model than its parent: their difference is not what training did, and diff_of_diffs has none
-- grain: subject
-- source: own; where the checkpoint says what it was trained from
-- severity: error
-- page: marker_attention
-- columns:
--   subject: trained checkpoint and reader
with final as (
  select
    subject_of(format('{} against {}', trained_checkpoint, base_checkpoint), concat_ws(' and ', trained_run, base_run)) as subject,
    format('{} was trained from {}, and its tokens were read by {}: no difference is taken', trained_checkpoint, parent, base_id) as finding,
    format('select run_id, checkpoint, id, parent from checkpoints where run_id in ({}, {})', sql_text(trained_run), sql_text(base_run)) as evidence
  from reader_pairs
  where not is_parent
)
select * from final
