-- Does the attention implementation change how often the marker comes? Rates on the same prompts with the same seeds.
-- chart: bar x=persona y=rate colour=implementation facet=checkpoint
select coalesce(checkpoint, 'not recorded') as checkpoint, coalesce(persona, 'not recorded') as persona, implementation, rate, wilson_low, wilson_high, n, k, decision
from preflight
order by checkpoint, persona, implementation
