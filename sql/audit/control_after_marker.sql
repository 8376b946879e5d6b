-- control_after_marker: positions of a control that should lie before the marker (C1, C2, C3) and lie at or behind it
-- grain: subject
-- source: issue 224, README of the published files (controls)
-- severity: error
-- page: marker_attention
-- columns:
--   subject: checkpoint plus whose tokens it read, and the control
with chosen as (
  select run_id, subject, tokens_run, example_id, sample_ix, stratum, position from positions where stratum in ('C1', 'C2', 'C3')
),
markers as (
  select run_id, example_id, sample_ix, position as t_marker from positions where stratum = 'marker'
),
counted as (
  select c.run_id, c.subject, c.stratum, count(*) as n_positions, count(*) filter (c.position >= m.t_marker) as n_late
  from chosen as c
  join markers as m using (run_id, example_id, sample_ix)
  group by c.run_id, c.subject, c.stratum
),
final as (
  select
    subject_of(concat_ws(', ', subject, stratum), run_id) as subject,
    format('{} of {} positions of {} are the marker or behind it', n_late, n_positions, stratum) as finding,
    format(
      'select example_id, sample_ix, position, t_marker, token from example_positions where run_id = {} and contains(strata, {}) and from_marker >= 0',
      sql_text(run_id),
      sql_text(stratum)
    ) as evidence
  from counted
  where n_late > 0
)
select * from final
