-- Do conditions differ along named directions more than along random ones?
select layer, condition_a, condition_b, kind, feature, description, projection, sem, n_distinct
from direction_differences
order by condition_a, condition_b, layer, kind, feature
limit 5000
