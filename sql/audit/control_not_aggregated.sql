-- control_not_aggregated: positions of a control were chosen, and no difference from the marker was ever computed for it
-- grain: subject
-- source: own; the published case is C4, the end of a negative generation
-- severity: warning
-- page: marker_attention
-- columns:
--   subject: checkpoint whose tokens were read, and the control
with made as (
  select run_id, origin_of(kind, extractor) as origin from runs
),
chosen as (
  select p.run_id, m.origin, p.subject, p.stratum as control, count(*) as n_positions
  from positions as p
  join made as m using (run_id)
  where p.stratum in ('C1', 'C2', 'C3', 'C4')
  group by p.run_id, m.origin, p.subject, p.stratum
),
aggregated as (
  select distinct origin, subject, control from attention_delta
),
final as (
  select
    subject_of(concat_ws(', ', c.subject, c.control), c.run_id) as subject,
    format('{} positions of {} were chosen, and no reading of them stands against the marker', c.n_positions, c.control) as finding,
    format(
      'select stratum, count(*) as n_positions, stratum in (select control from attention_effects where origin = {} and subject = {}) as aggregated from positions '
      || 'where run_id = {} group by stratum order by stratum',
      sql_text(c.origin),
      sql_text(c.subject),
      sql_text(c.run_id)
    ) as evidence
  from chosen as c
  anti join aggregated as a using (origin, subject, control)
)
select * from final
