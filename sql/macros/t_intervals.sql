-- t_half_width(sem, df): half the 95% interval of a mean, Student t with df degrees of freedom; NULL where the clusters do not differ.
-- half_width(sem, n_clusters): the same with n_clusters - 1, of a plain standard error.
-- clustered_low(mean, sem, n_clusters), clustered_high(...): its ends; a view that wants both takes half_width once, in a stage before, as planning the quantile
--   costs milliseconds. `share` is the share of the 5% that the interval may miss: one over the number of intervals looked at gives Bonferroni's.
create or replace macro t_half_width(sem, df, share := 1.0) as case when sem > 0 then sem * student_t_quantile(1 - 0.025 * share, df) end;
create or replace macro half_width(sem, n_clusters, share := 1.0) as t_half_width(sem, n_clusters - 1, share);
create or replace macro clustered_low(mean, sem, n_clusters, share := 1.0) as mean - half_width(sem, n_clusters, share);
create or replace macro clustered_high(mean, sem, n_clusters, share := 1.0) as mean + half_width(sem, n_clusters, share);
