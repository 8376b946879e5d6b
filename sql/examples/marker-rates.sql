-- How often the marker comes, by checkpoint and persona, over all runs of a checkpoint; the view has each run with its intervals.
-- chart: heat map x=persona y=checkpoint colour=rate
select checkpoint, persona, coalesce(sum(k)::double / sum(n), avg(rate)) as rate, sum(k) as k, sum(n) as n, count(*) as n_runs
from marker_rates
group by checkpoint, persona
order by checkpoint, persona
