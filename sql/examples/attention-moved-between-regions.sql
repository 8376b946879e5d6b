-- From which region attention is taken where the marker draws more of it: marker minus random earlier positions, by region.
-- chart: line x=layer y=mean_delta colour=region facet=reader
select subject || ' ' || right(run_id, 6) as reader, region, layer, avg(delta) as mean_delta, count(*) as n
from attention_region_delta
where control = 'C1' and segmentation = 'B'
group by reader, region, layer
order by reader, layer, region
