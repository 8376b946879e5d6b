-- Trained and base over the same tokens, a generation at a time: who moves, and is it all of them?
-- chart: scatter x=base_delta y=trained_delta colour=trained_subject
select trained_subject, base_subject, question_id, sample_ix, layer, trained_delta, base_delta, difference
from paired_deltas
qualify layer = max(layer) over (partition by trained_run, base_run)
order by trained_subject, question_id, sample_ix
limit 5000
