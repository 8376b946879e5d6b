-- claims: published sentences and what the data say of them: the newest check of every study
-- grain: study, claim
-- outcomes: verdict, found
-- source: own; claims stand in the study files, `personascope check` writes the verdicts
-- columns:
--   model: checkpoint that was asked (NULL where the sentence speaks of published rows)
--   checked: when they were checked, UTC
--   stale: runs came, went or were redone since, so that the verdict may be another now
--   new_runs: runs in the lake now minus runs the check saw
select * exclude (asked) from checked_claims where asked is null
