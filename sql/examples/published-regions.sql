-- Attention by region at the marker and at its control, as published.
-- chart: line x=layer y=mean_delta colour=region facet=subject
select subject, region, layer, mean_delta, sem_delta, marker_mean, control_mean
from published_regions
where segmentation = 'B'
order by subject, region, layer
