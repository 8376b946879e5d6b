-- What every head is worth to the target: by direct attribution, and by what its ablation takes from the log-probability.
-- chart: scatter x=dla_margin y=zero
select subject, layer, head, dla_margin, zero, kl_zero, bos_fraction, dla_margin_rank, zero_rank, n, n_clusters
from head_effects
where prompt_form = 'all'
order by subject, layer, head
limit 5000
