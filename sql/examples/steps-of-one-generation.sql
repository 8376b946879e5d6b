-- The last steps of every generation of one subject, with the marker or without it, averaged over layers.
-- chart: scatter x=step y=system colour=positive
select question_id, sample_ix, positive, step, avg(system) as system
from trajectory_steps
where subject = (select min(subject) from trajectory_steps)
group by question_id, sample_ix, positive, step
order by question_id, sample_ix, step
