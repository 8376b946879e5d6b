-- The heads that patching should try first, and how sure their place is.
select family, origin, layer, head, composite, did, did_log_ratio, consistency, rank
from patching_candidates
where rank <= 20
order by family, origin, rank
