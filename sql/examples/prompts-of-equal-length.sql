-- Are the prompts of the categories equally long? Entropy grows with length, so they have to be.
-- chart: bar x=category y=mean_tokens facet=checkpoint
select distinct prompt_set, checkpoint, form, category, mean_tokens, sd_tokens, difference_to_neutral, mean_pair_difference, n
from prompt_balance
where mean_tokens is not null
order by checkpoint, prompt_set, form, category
