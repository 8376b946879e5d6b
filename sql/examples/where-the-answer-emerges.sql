-- How the target rises through the layers in the logit lens, with the interval by question.
-- chart: line x=layer y=target_prob colour=stratum facet=run_id
select run_id, subject, stratum, layer, target_prob, target_prob_low as low, target_prob_high as high, target_rank, top1_share, n, n_clusters
from logit_lens_layers
where prompt_form = 'all'
order by run_id, stratum, layer
