-- Does a plan need more questions or more samples? The share of variance that lies between questions.
select measure, checkpoint, persona, layer, head, mean, icc, question_sd, n, n_clusters
from variance_components
where measure in ('rate', 'attention')
order by measure, checkpoint, persona, layer, head
