-- How steady a head's worth is: its place among all heads at every prompt, for the head that is best on average.
-- chart: scatter x=rank y=worth
with best as (select layer, head from head_examples where measure = 'direct' group by layer, head order by avg(rank), layer, head limit 1)
select subject, prompt_form, question_id, sample_ix, layer, head, worth, rank, layer_rank
from head_examples join best using (layer, head)
where measure = 'direct'
order by subject, question_id, sample_ix
