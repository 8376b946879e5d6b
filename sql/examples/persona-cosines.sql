-- How alike the personas are, by layer: cosines of their mean activations with the mean over personas removed, at the first place of reading.
-- chart: heat map x=persona y=other_persona colour=cosine_centered facet=layer
select subject, layer, persona, other_persona, cosine_centered, cosine, n
from persona_cosines
where (subject, stratum, site) = (select (subject, stratum, site) from persona_cosines order by subject, stratum, site limit 1)
order by layer, persona, other_persona
