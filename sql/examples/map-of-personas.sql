-- Where the personas of a checkpoint lie to each other: first two principal axes of their mean activations, at the first place of reading.
-- chart: scatter x=x y=y colour=persona facet=layer
select subject, layer, persona, x, y, x_share, y_share, n
from persona_map
where (subject, stratum, site) = (select (subject, stratum, site) from persona_map order by subject, stratum, site limit 1)
order by layer, persona
