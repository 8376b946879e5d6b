-- Estimates of many of a kind, drawn towards their mean by what noise makes of the largest of them: empirical Bayes, normal around normal.
--
-- family_centre(estimate, family)          mean of the estimates of a family; a family is any expression whose equal values go together
-- family_spread(estimate, sem, family)     variance of what is estimated: that of the estimates less the mean of their squared standard errors, at least 0
-- shrunken(estimate, sem, centre, spread)  mean of what is estimated given its estimate: centre + spread / (spread + sem ^ 2) * (estimate - centre)
--
-- The result is NULL where an argument is. Source: Efron and Morris, Journal of the American Statistical Association 70, 1975, with each its own standard error.
-- Of the largest of many it is right on average, which the estimate itself is not; it leans on standard errors that are known.

create or replace macro family_centre(estimate, family) as avg(estimate) over (partition by family);

create or replace macro family_spread(estimate, sem, family) as
  greatest(0.0, var_samp(estimate) over (partition by family) - avg(sem ** 2) over (partition by family));

create or replace macro shrunken(estimate, sem, centre, spread) as
  case when spread + sem ** 2 > 0 then centre + spread / (spread + sem ** 2) * (estimate - centre) when sem = 0 then estimate end;
