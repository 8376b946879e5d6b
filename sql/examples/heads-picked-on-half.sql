-- How much of the largest heads' effect was the picking: chosen on half of the questions, measured on the other half.
-- chart: scatter x=selection_effect y=evaluation_effect colour=trained_subject
select trained_subject, base_subject, layer, head, rank, selection_effect, evaluation_effect, evaluation_low, evaluation_high, same_sign, shrinkage
from head_selection
where rank <= 20
order by trained_subject, base_subject, rank
