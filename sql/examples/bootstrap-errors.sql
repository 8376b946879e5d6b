-- Standard errors by bootstrap beside the mean they belong to; rows of analyses that are older than their data are not here.
select subject, quantity, control, region, layer, mean, sem, n, method, resamples, seed
from bootstrap_errors
order by subject, quantity, control, region, layer
