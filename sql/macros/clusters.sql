-- Means over rows of which those of one cluster (one question) go together: cluster-robust standard errors, their degrees of freedom, and how far both hold.
--
-- cr2_squares(n, total, mean, share)  aggregate over clusters of n rows that add up to total: squared sums of residuals from mean, the mean over all rows, each
--                                     divided by 1 - share, share being the cluster's part of all rows; a cluster of no rows adds nothing
-- cr2_sem(n, n_clusters, squares)     standard error of a mean over n rows from cr2_squares (CR2); NULL with fewer than two clusters
-- cr2_df(share)                       aggregate: degrees of freedom of its t (Bell and McCaffrey); n_clusters - 1 where clusters are equally large, fewer where not.
--                                     Rounded to nine decimals, so that clusters of the same sizes have the same
-- cr2_residual(n, total, mean, share, n_all)  what a cluster adds to the error of a mean over n_all rows; where two means share clusters, the errors of a cluster are
--                                     subtracted before they are squared: the standard error of the difference is sqrt(sum((first - second) ** 2))
-- contrast_df(share_a, n_a, share_b, n_b)  aggregate: degrees of freedom of the t of such a difference, n rows of a cluster in each of both samples
-- effective_clusters(share)           aggregate: Kish's effective number of clusters, (sum of sizes)^2 / sum of squared sizes: that many equally large ones weigh as much
-- cluster_skewness(n, total, mean)    aggregate: sample skewness of the clusters' means; NULL with fewer than three, and where they differ by no more than rounding
-- skewness_limit(), skewness_z()      the two numbers of is_skewed, which stand in thresholds
-- is_skewed(skewness, n_clusters)     the means of the clusters are so skewed that a t interval is too short on one side: their sample skewness is at least
--                                     skewness_limit and above skewness_z of its standard errors under normality; NULL with fewer than three clusters
-- clustered_sem(n, n_clusters, squares)  the standard error CR1: squares is the sum over clusters of the squared sum of residuals, its t has n_clusters - 1 degrees
--                                     of freedom; too small where sizes are unequal
-- pooled_sd(n, squares)               sample standard deviation from the sum of squared deviations; NULL with fewer than two rows
-- t_ratio(mean, sem, lowest, highest) mean over its standard error; NULL where the rows do not vary, since no test can be made of a constant
-- n_known_clusters(cluster)           aggregate: how many there are; NULL where one is unknown, since it may be several
-- n_distinct_among(found)             aggregate: distinct values among lists of them
-- total_squares(n, total, squares, mean)  aggregate: squared deviations of all rows from mean, squares being those of a cluster from its own mean
--
-- share_spread(a, b) is 1 over the degrees of freedom where a and b are the same shares.
--
-- Source: Bell and McCaffrey (2002), Imbens and Kolesár (Review of Economics and Statistics 98, 2016) for the regression on a constant. With w the share of a cluster
-- and S the sum of its residuals, (I - H)^(-1/2) stretches the direction of the mean by (1 - w)^(-1/2), so V = sum(S^2 / (1 - w)) / n^2. Under independent rows of one
-- variance V is a quadratic form whose matrix over clusters has the trace 1 / n and the off-diagonal elements -x_g x_h / n with x = w / sqrt(1 - w); twice the squared
-- mean over the variance gives df = 1 / (sum(w^2) + sum(x^2)^2 - sum(x^4)). Kish, Survey Sampling, 1965. The standard error of a skewness under normality: Fisher 1930.
create or replace macro cr2_squares(n, total, mean, share) as sum(case when n > 0 then (total - n * mean) ** 2 / nullif(1 - share, 0) end);
create or replace macro cr2_sem(n, n_clusters, squares) as case when n_clusters > 1 then sqrt(squares) / n end;
create or replace macro share_spread(a, b) as
    sum(a * b) + sum(a * b / sqrt(nullif((1 - a) * (1 - b), 0))) ** 2 - sum((a * b) ** 2 / nullif((1 - a) * (1 - b), 0));
create or replace macro cr2_df(share) as round(1 / nullif(share_spread(share, share), 0), 9);
create or replace macro cr2_residual(n, total, mean, share, n_all) as (total - n * mean) / n_all / sqrt(nullif(1 - share, 0));
create or replace macro contrast_df(share_a, n_a, share_b, n_b) as
    round(
        (1 / sum(n_a) + 1 / sum(n_b)) ** 2
        / nullif(
            share_spread(share_a, share_a) / sum(n_a) ** 2
            + 2 * share_spread(share_a, share_b) / (sum(n_a) * sum(n_b))
            + share_spread(share_b, share_b) / sum(n_b) ** 2,
            0
        ),
        9
    );
create or replace macro effective_clusters(share) as round(1 / nullif(sum(share ** 2), 0), 9);
create or replace macro cluster_skewness(n, total, mean) as
    case when max(abs(total / n - mean)) > 1e-9 * max(abs(total / n)) then skewness(total / n - mean) end;
create or replace macro skewness_limit() as 1.0;
create or replace macro skewness_z() as 2.0;
create or replace macro is_skewed(skewness, n_clusters) as
    abs(skewness) >= greatest(
        skewness_limit(), skewness_z() * sqrt(6.0 * n_clusters * (n_clusters - 1) / nullif((n_clusters - 2.0) * (n_clusters + 1) * (n_clusters + 3), 0))
    );
create or replace macro clustered_sem(n, n_clusters, squares) as case when n_clusters > 1 then sqrt(squares * n_clusters / (n_clusters - 1)) / n end;
create or replace macro pooled_sd(n, squares) as case when n > 1 then sqrt(squares / (n - 1)) end;
create or replace macro t_ratio(mean, sem, lowest, highest) as case when lowest < highest and sem > 0 then mean / sem end;
create or replace macro n_known_clusters(cluster) as case when bool_and(cluster is not null) then count(*) end;
create or replace macro n_distinct_among(found) as len(list_distinct(flatten(list(found))));
create or replace macro total_squares(n, total, squares, mean) as sum(squares + n * (total / n - mean) ** 2);
