-- When attention turns to the system prompt: generations with the marker minus those without, over the layers of the longest window, with 95% intervals of each step.
-- chart: line x=step y=band_mean facet=reader
select subject || ' ' || right(run_id, 6) as reader, origin, step, band_mean, band_low as low, band_high as high, n_clusters, first_layer, last_layer
from trajectory_bands
order by reader, step
