-- opposed_direction: patching candidates whose difference in differences points the other way than the change on self-referent prompts
-- grain: subject
-- source: README of the published files
-- severity: note
-- page: role_focus
-- columns:
--   subject: model family
with candidates as (
  select * from patching_candidates where is_top
),
final as (
  select
    subject_of(family, run_id) as subject,
    format(
      '{} of {} candidates have a sign of did that is not the direction of the change on self-referent prompts: {}',
      count(*) filter (direction_conflict),
      count(*),
      string_agg(format('layer {} head {}', layer, head), ', ' order by rank) filter (direction_conflict)
    ) as finding,
    format('select rank, layer, head, did, self_diff, neutral_diff from patching_candidates where run_id = {} and direction_conflict order by rank', sql_text(run_id))
      as evidence
  from candidates
  group by run_id, base_run, family
  having count(*) filter (direction_conflict) > 0
)
select * from final
