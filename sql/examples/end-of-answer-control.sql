-- Attention to the system prompt at the marker against at the end of answers without it, two samples of generations, with the interval of the difference.
-- chart: line x=layer y=difference facet=reader
select subject || ' ' || right(run_id, 6) as reader, layer, difference, low, high, adjusted_p, n, n_ends, n_clusters
from end_of_answer_contrast
order by reader, layer
