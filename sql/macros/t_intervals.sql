-- t_half_width(sem, df): half the 95% interval of a mean, Student t with df degrees of freedom; NULL where the clusters do not differ.
-- half_width(sem, n_clusters): the same with n_clusters - 1, of a plain standard error.
-- clustered_low(mean, sem, n_clusters), clustered_high(...): its ends; a view that wants both takes half_width once, in a stage before, as planning the quantile
--   costs milliseconds. `share` is the share of the 5% that the interval may miss: one over the number of intervals looked at gives Bonferroni's.
-- seeds_quantile(n_seeds): the t quantile of a 95% interval over training seeds as a random effect; NULL below three, where nothing can be known of how seeds vary.
-- mean_reach(quantile, sd, n): half the interval of the mean over n seeds whose standard deviation is sd; NULL where they do not differ.
-- next_reach(quantile, sd, n): half the prediction interval of the next seed (Hahn and Meeker, Statistical Intervals, 1991).
-- as_rate(value): the value within 0 and 1; NULL stays NULL.
create or replace macro t_half_width(sem, df, share := 1.0) as case when sem > 0 then sem * student_t_quantile(1 - 0.025 * share, df) end;
create or replace macro half_width(sem, n_clusters, share := 1.0) as t_half_width(sem, n_clusters - 1, share);
create or replace macro clustered_low(mean, sem, n_clusters, share := 1.0) as mean - half_width(sem, n_clusters, share);
create or replace macro clustered_high(mean, sem, n_clusters, share := 1.0) as mean + half_width(sem, n_clusters, share);
create or replace macro seeds_quantile(n_seeds) as case when n_seeds >= 3 then student_t_quantile(0.975, n_seeds - 1) end;
create or replace macro mean_reach(quantile, sd, n) as nullif(sd, 0) * quantile / sqrt(n);
create or replace macro next_reach(quantile, sd, n) as nullif(sd, 0) * quantile * sqrt(1 + 1.0 / n);
create or replace macro as_rate(value) as case when value is not null then least(1, greatest(0, value)) end;
