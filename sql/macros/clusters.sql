-- clustered_sem(n, n_clusters, squares): standard error of a mean over n rows when rows of one cluster go together (cluster-robust, CR1):
--   squares is the sum over clusters of the squared sum of residuals; NULL with fewer than two clusters. Its t has n_clusters - 1 degrees of freedom.
create or replace macro clustered_sem(n, n_clusters, squares) as case when n_clusters > 1 then sqrt(squares * n_clusters / (n_clusters - 1)) / n end;
-- pooled_sd(n, squares): sample standard deviation from the sum of squared deviations; NULL with fewer than two rows.
create or replace macro pooled_sd(n, squares) as case when n > 1 then sqrt(squares / (n - 1)) end;
-- t_ratio(mean, sem, lowest, highest): mean over its standard error; NULL where the rows do not vary, since no test can be made of a constant.
create or replace macro t_ratio(mean, sem, lowest, highest) as case when lowest < highest and sem > 0 then mean / sem end;
-- Sums over clusters of n rows each, whose values add up to total and deviate from the cluster's own mean by squares; mean is that over all rows:
-- n_known_clusters(cluster): aggregate: how many there are; NULL where one is unknown, since it may be several.
-- n_distinct_among(found): aggregate: distinct values among lists of them.
-- total_squares(n, total, squares, mean): aggregate: squared deviations of all rows from mean.
-- cluster_squares(n, total, mean): aggregate: squared sums of residuals, as clustered_sem takes them.
create or replace macro n_known_clusters(cluster) as case when bool_and(cluster is not null) then count(*) end;
create or replace macro n_distinct_among(found) as len(list_distinct(flatten(list(found))));
create or replace macro total_squares(n, total, squares, mean) as sum(squares + n * (total / n - mean) ** 2);
create or replace macro cluster_squares(n, total, mean) as sum((total - n * mean) ** 2);
