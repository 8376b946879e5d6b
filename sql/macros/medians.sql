-- The interval of a median from the order of its values alone: no shape of their distribution is assumed, and ranks that span powers of ten need none.
--
-- median_place(n)      which of n sorted values, from 1, is the lower end of the 95% interval of their median, the upper end being as far from the other side:
--                      the largest place that at most 2.5% of samples pass on each side; 0 with fewer than six values, which give no such interval
-- median_coverage(n)   share of samples whose interval holds the median, at least 0.95 (NULL without an interval)
-- median_low(found, place), median_high(found, place)   the two ends, of a list of independent values and its median_place (NULL without an interval)
--
-- Source: the number of values below the median is binomial with probability 1/2 (Thompson 1936; the interval of scipy.stats.quantile_test). Ties make it wider
-- than it need be, never narrower. Precision: relative 1e-10 for n up to 5,000; the time grows with the square of n.

create or replace macro median_tail(n, places) as
    list_sum(list_transform(range(places::bigint), lambda k: exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) - n * ln(2))));

create or replace macro median_place(n) as len(list_filter(range(1, n::bigint // 2 + 1), lambda place: 2 * median_tail(n, place) <= 0.05));

create or replace macro median_coverage(n) as case when median_place(n) > 0 then 1 - 2 * median_tail(n, median_place(n)) end;

create or replace macro median_low(found, place) as case when place > 0 then list_sort(found)[place] end;

create or replace macro median_high(found, place) as case when place > 0 then list_sort(found)[len(found) + 1 - place] end;
