-- Do trained checkpoints still answer in the same form? Share of answers with the structure of the base, by persona.
-- chart: heat map x=persona y=checkpoint colour=rate
select checkpoint, persona, coalesce(sum(rate * n) / sum(n), avg(rate)) as rate, sum(n) as n, count(*) as n_runs
from structure_rates
group by checkpoint, persona
order by checkpoint, persona
