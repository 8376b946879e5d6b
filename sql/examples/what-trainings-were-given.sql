-- What was each checkpoint trained with, besides the axes of a sweep? Trainings of one recipe share all of it.
select t.recipe, s.name, s.value, list(distinct s.checkpoint order by s.checkpoint) as checkpoints
from recipes as t
join recipe_settings as s using (checkpoint)
group by t.recipe, s.name, s.value
order by t.recipe, s.name, s.value
