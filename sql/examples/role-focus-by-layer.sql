-- Did instruction tuning sharpen attention on prompts that speak of the model itself? Instruct minus base by layer, with bootstrap intervals.
-- chart: line x=layer y=rfc_diff facet=family
select family, layer, rfc_diff, ci_low, ci_high, excludes_zero
from rfc_diff
order by family, layer
