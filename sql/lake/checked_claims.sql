-- checked_claims: published sentences as they were last checked, against the rows they speak of and against other models
-- grain: study, claim, asked
-- outcomes: verdict, found
-- source: own; claims stand in the study files, `personascope check` writes the verdicts
-- columns:
--   asked: checkpoint that was asked on purpose instead of the one the sentence was published of (NULL: none)
--   model: checkpoint that was asked (NULL where the sentence speaks of published rows)
--   checked: when they were checked, UTC
--   stale: runs came, went or were redone since, so that the verdict may be another now
--   new_runs: runs in the lake now minus runs the check saw
with checks as (
  select
    run_id,
    checkpoint as asked,
    finished as checked,
    row_number() over (partition by study, checkpoint order by finished desc, run_id desc) as newness
  from runs
  where extractor = 'claims'
),
present as (
  select state, n_runs from lake_state
),
final as (
  select
    v.study,
    v.claim,
    c.asked,
    v.place,
    v.verdict,
    v.statement,
    v.source,
    v.measured,
    v.expected,
    v.found,
    v.detail,
    v.query,
    v.n_rows,
    v.fingerprint,
    v.model,
    v.run_id,
    c.checked,
    v.lake_state <> present.state as stale,
    present.n_runs - v.lake_runs as new_runs
  from claim_verdicts as v
  join checks as c on c.run_id = v.run_id and c.newness = 1
  cross join present
)
select * from final
