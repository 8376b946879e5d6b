-- One head at the marker and at the steps before: change the layer and the head, or narrow it to one example.
-- chart: bar x=stratum y=fraction facet=reader
select subject || ' ' || right(run_id, 6) as reader, stratum, region, avg(fraction) as fraction, avg(entropy) as entropy, count(*) as n
from attention_fractions_by_head
where layer = 0 and head = 0 and segmentation = 'B' and region = 'system'
group by reader, stratum, region
order by reader, stratum
