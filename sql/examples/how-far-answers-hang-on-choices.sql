-- Of all defensible choices of segmentation, control, measure and threshold, how many keep the answer?
select question, subject, marker, conclusion, n_same, n_choices, share_same
from sensitivity
order by share_same, question, subject
