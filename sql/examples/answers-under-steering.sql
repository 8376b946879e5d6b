-- Each answer under a dose beside the same prompt and repeat at dose 0: what the effects of steering are made of.
select subject, direction, layer, mode, dose, persona, question_id, outcome, base, value, difference
from steering_outcomes
order by subject, direction, layer, mode, dose, outcome, persona, question_id
limit 200
