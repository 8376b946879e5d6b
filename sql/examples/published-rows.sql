-- Which generation a row of a published deltas file is, where the file of its answers is in the lake.
select tokens_run, count(*) as n_rows, count(distinct question_id) as n_questions
from published_rows
group by tokens_run
order by tokens_run
