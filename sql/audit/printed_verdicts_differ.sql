-- printed_verdicts_differ: a sweep cell whose printed degeneration or success is not what its own rates give
-- grain: subject
-- source: README of the published sweep (definitions)
-- severity: error
-- page: regimes
-- columns:
--   subject: checkpoint
with cells as (
  select * from regimes where degeneration <> degeneration_published or success <> success_published
),
final as (
  select
    subject_of(coalesce(checkpoint, run_id), run_id) as subject,
    concat_ws(
      '; ',
      case
        when degeneration <> degeneration_published then
          format('degeneration is printed as {}, but the largest bystander rate is {}', degeneration_published, figure(max_bystander_rate))
      end,
      case
        when success <> success_published then
          format('success is printed as {}, but the source rate is {} and ARC-C {}', success_published, figure(source_rate), figure(arc_c))
      end
    ) as finding,
    format(
      'select source_rate, assistant_rate, max_bystander_rate, arc_c, degeneration, degeneration_published, success, success_published '
      || 'from regimes where run_id = {}',
      sql_text(run_id)
    ) as evidence
  from cells
)
select * from final
