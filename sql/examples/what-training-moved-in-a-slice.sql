-- What training moved, by layer, with its interval: one part of the slices, which is planned much faster than all of them.
-- chart: line x=layer y=value colour=subject
select subject, persona, layer, value, low, high, p, n, n_clusters, verdict, other
from slice_training
order by subject, other, layer
