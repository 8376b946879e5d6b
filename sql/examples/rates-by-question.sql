-- Which questions draw the marker out: samples that hold it, question by question.
select checkpoint, persona, question_id, sum(n_present)::double / sum(n_kept) as rate, sum(n_present) as k, sum(n_kept) as n
from marker_trials
group by checkpoint, persona, question_id
order by checkpoint, persona, question_id
