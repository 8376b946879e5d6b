-- What each score of the patching candidates spreads over, by family: n, mean and standard deviation of all heads.
select family, origin, score, n, mean, std, fit_error
from patching_moments
order by family, origin, score
