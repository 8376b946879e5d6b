-- The difference of two rates that were taken on the same samples, from the samples that differ: `more` hold the marker on one side alone, `less` on the other.
--
-- paired_icc(n, more, less, n_clusters, squares, sizes)   intraclass correlation of the differences (-1, 0, 1) by question, as rate_icc; NULL where nothing tells
-- paired_centre(more, less, n, n_effective)               centre of the interval of the difference: one pair added that differs, half of it each way, and one that does not
-- paired_se(more, less, n, n_effective)                   its standard error; the interval is centre -/+ t * se and exists where no sample differs, too
--
-- n_effective is that of rates.sql, with a prior of 0: what a question does to a rate it does to both sides.
-- Source: Agresti and Min, Statistics in Medicine 24, 2005 (pairs added); design effect as in rates.sql.

create or replace macro paired_icc(n, more, less, n_clusters, squares, sizes) as
    case
        when n_clusters > 1 and sizes > n and more + less > 0 and abs(more - less) < n
            then (squares * n_clusters / (n_clusters - 1) / (more + less - (more - less) ** 2 / n) - 1) / (sizes / n - 1)
    end;

create or replace macro paired_centre(more, less, n, n_effective) as (more - less) * n_effective / n / (n_effective + 2);

create or replace macro paired_se(more, less, n, n_effective) as
    sqrt((more + less) * n_effective / n + 1 - ((more - less) * n_effective / n) ** 2 / (n_effective + 2)) / (n_effective + 2);
