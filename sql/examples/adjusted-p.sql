-- The members of every family of tests that hold after adjustment for all of them.
select figure, coalesce(subject, stratum) as what, measure, layer, head, p, adjusted_p, n_members, method, resamples, seed
from family_p
where adjusted_p < 0.05
order by figure, adjusted_p, what, layer, head
