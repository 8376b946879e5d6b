-- Where a model looks as it writes the marker: share of attention by region and layer, mean over examples, read by the model itself.
-- chart: line x=layer y=fraction colour=region facet=reader
select subject || ' ' || right(run_id, 6) as reader, layer, region, avg(fraction) as fraction, count(*) as n
from attention_fractions
where stratum = 'marker' and segmentation = 'B'
group by reader, layer, region
order by reader, layer, region
