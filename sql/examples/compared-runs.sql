-- Which runs' figures stand beside each other, and why.
select extractor, checkpoint, other_checkpoint, why, run_id, other_run
from compared_runs
order by extractor, checkpoint, other_checkpoint
