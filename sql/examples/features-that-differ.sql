-- Which features of an autoencoder tell two conditions apart, the largest effect first.
select layer, stratum, condition_a, condition_b, feature, difference, effect, significant, n_distinct
from feature_differences
order by abs(effect) desc nulls last, layer, feature
limit 200
