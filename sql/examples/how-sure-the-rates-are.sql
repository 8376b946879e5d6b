-- What the intervals of a sweep cell allow: bounds of the source's rate and of the largest rate among the others.
-- chart: scatter x=source_low y=max_other_upper
select checkpoint, marker, source_low, source_high, max_other_lower, max_other_upper, n_others, n_questions
from regime_bounds
order by checkpoint
