-- Which base and instruct models can be compared, and which were read in other precisions, so that they make no pair of Role Focus?
select base_checkpoint, instruct_checkpoint, prompt_set, form, base_precision, instruct_precision, base_precision = instruct_precision as is_pair
from rfc_candidates
order by all
