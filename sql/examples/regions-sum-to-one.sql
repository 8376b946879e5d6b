-- Do the regions of a segmentation sum to one at the marker? The worst layers first.
select subject, origin, segmentation, layer, total, error, worst
from partition_error
order by error desc, subject, segmentation, layer
limit 100
