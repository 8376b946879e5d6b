-- Whether the questions of projections and steering were asked when the directions they use were made, by the words of the questions.
select run_id, directions_run, asked_as, count(*) as n_questions
from seen_questions
group by run_id, directions_run, asked_as
order by run_id, asked_as
