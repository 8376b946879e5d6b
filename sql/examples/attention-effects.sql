-- Is attention to the system prompt other at the marker than at a control? By layer, with the p adjusted for all layers; a flip test asks whether both sides can be exchanged.
-- chart: heat map x=layer y=reader colour=mean_delta
select subject || ' ' || right(run_id, 6) as reader, control, layer, mean_delta, clustered_sem, clustered_p, adjusted_p, bootstrap_t_adjusted_p, n, n_clusters
from attention_effects
where control = 'C1'
order by reader, layer
