-- What a dose of each direction does to the marker, with its interval by question, over all personas; more doses and outcomes stand in the view.
-- chart: line x=dose y=difference colour=direction facet=layer
select subject, direction, layer, mode, dose, difference, low, high, n, n_clusters, is_broken
from steering_changes
where persona = 'all' and outcome = 'marker_log_prob' and not coalesce(kind in ('random', 'random_in_span', 'shuffled'), false)
order by subject, direction, layer, mode, dose
