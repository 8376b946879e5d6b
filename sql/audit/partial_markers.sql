-- partial_markers: generations that hold the marker's first token or its text although the marker is not whole
-- grain: subject
-- source: own; the published study counts a generation by the marker's first token
-- severity: note
-- page: completions
-- columns:
--   subject: checkpoint and marker
with texts as (
  select * from generations where positive or present
),
counted as (
  select run_id, checkpoint, marker, count(*) as n, count(*) filter (partial) as n_partial, count(*) filter (in_pieces) as n_in_pieces
  from texts
  group by run_id, checkpoint, marker
),
final as (
  select
    subject_of(concat_ws(' ', checkpoint, marker), run_id) as subject,
    format('{} of {} generations with the marker or its first token do not hold all its tokens in a row', n_partial, n)
      || case when n_in_pieces > 0 then format('; {} write its text in other pieces', n_in_pieces) else '' end as finding,
    format(
      'select example_id, sample_ix, t_marker, n_new_tokens, truncated, right(text, 40) as ends_with from generations where run_id = {} and marker = {} and partial',
      sql_text(run_id),
      sql_text(marker)
    ) as evidence
  from counted
  where n_partial > 0
)
select * from final
