-- The marker's first token in the logit lens of trained and base, generation by generation.
-- chart: scatter x=layer y=trained_prob
select trained_subject, base_subject, question_id, sample_ix, layer, trained_prob, base_prob, trained_rank, base_rank
from marker_lens_pairs
order by trained_subject, question_id, sample_ix, layer
limit 5000
