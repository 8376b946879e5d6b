-- Patching candidates in one row a family: mean scores, the layers they lie in, and how many point in conflicting directions.
select family, origin, n, mean_did, mean_did_log_ratio, mean_consistency, mean_composite, layers, top_layer, top_head, n_direction_conflicts, n_sure
from patching_summary
order by family, origin
