-- Which questions carry a step's mean: what each adds to its error, the largest first.
select subject, step, question_id, band_mean, residual, n_positive, n_negative
from trajectory_band_questions
order by abs(residual) desc, subject, step, question_id
limit 100
