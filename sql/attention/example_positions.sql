-- example_positions: the query positions of one example, each once, with every reason it was chosen and how far it lies from the marker
-- grain: run_id, example_id, sample_ix, position
-- source: own readout; of the published study the positions its sampling rule gives
-- columns:
--   strata: strata the position was chosen for, in name order, joined by commas
--   t_marker: absolute index of the marker's first token (NULL in a generation without it)
--   from_marker: position minus t_marker
with markers as (
  select run_id, subject, example_id, sample_ix, position as t_marker from positions where stratum = 'marker'
),
merged as (
  select
    run_id,
    subject,
    example_id,
    sample_ix,
    position,
    any_value(checkpoint) as checkpoint,
    any_value(persona) as persona,
    any_value(question_id) as question_id,
    any_value(tokens_run) as tokens_run,
    string_agg(stratum, ', ' order by stratum) as strata,
    any_value(token_id) as token_id,
    any_value(token) as token
  from positions
  group by run_id, subject, example_id, sample_ix, position
),
final as (
  select m.*, k.t_marker, m.position - k.t_marker as from_marker
  from merged as m
  left join markers as k using (run_id, subject, example_id, sample_ix)
)
select * from final
