-- Questions that projections and steering ask and that the directions they use were made on, by the words of the questions.
select run_id, directions_run, question_id, asked_as
from seen_questions
where asked_as <> 'no'
order by run_id, question_id
