-- replications: published sentences asked of another model than the one they speak of: the newest check of every study and model
-- grain: study, claim, model
-- source: own; claims stand in the study files, `personascope check STUDY --model NAME` writes the verdicts
-- columns:
--   model: checkpoint that was asked instead of the one the sentence was published of
--   checked: when they were checked, UTC
--   stale: runs came, went or were redone since, so that the verdict may be another now
--   new_runs: runs in the lake now minus runs the check saw
with checks as (
  select
    run_id,
    finished as checked,
    row_number() over (partition by study, checkpoint order by finished desc, run_id desc) as newness
  from runs
  where extractor = 'claims' and checkpoint is not null
),
present as (
  select state, n_runs from lake_state
),
final as (
  select
    v.study,
    v.claim,
    v.place,
    v.verdict,
    v.statement,
    v.source,
    v.measured,
    v.expected,
    v.found,
    v.detail,
    v.query,
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
