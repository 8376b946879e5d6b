-- Every run with its settings' origin, time and size, the newest first.
select run_id, kind, study, extractor, checkpoint, subject, n_rows, round(seconds, 1) as seconds, finished
from runs
order by finished desc
