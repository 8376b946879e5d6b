-- replications: published sentences asked of another model than the one they speak of: the newest check of every study and model
-- grain: study, claim, model
-- outcomes: verdict, found
-- source: own; claims stand in the study files, `personascope check STUDY --model NAME` writes the verdicts
-- columns:
--   model: checkpoint that was asked instead of the one the sentence was published of
--   checked: when they were checked, UTC
--   stale: runs came, went or were redone since, so that the verdict may be another now
--   new_runs: runs in the lake now minus runs the check saw
select * exclude (asked) from checked_claims where asked is not null
