-- Which cells of a sweep keep the marker to its persona, at the thresholds of the view `regime_thresholds`.
-- chart: scatter x=source_rate y=max_other_rate colour=regime
select source, lr, epochs, seed, regime, source_rate, max_other_rate, arc_c, structure_rate
from regimes
order by source, lr, epochs, seed
