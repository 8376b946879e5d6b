-- The interval of a rate over questions that are asked several times: Wilson's on the effective number of completions, with Student's t over questions in
-- place of the normal quantile. It exists at 0 and at n of n, and stays within 0 and 1.
--
-- rate_icc(n, rate, n_clusters, squares, sizes)   intraclass correlation of the answers to one question: by how much the squared sums of residuals of the
--                                                 questions (squares, by cr2_squares) exceed what independent answers give, over the repeats; may fall below 0.
--                                                 NULL where nothing tells: all answers alike, one question, or each asked once
-- n_informative(present, trials)                  aggregate over questions: those that hold the rarer of the two outcomes: the evidence behind a rate_icc
-- prior_icc(icc, informative, family)             what the other rates of its family say of it, each weighted by its informative questions, together with
--                                                 four questions' worth of 0.15, which is all that is assumed where there are no others
-- settled_icc(icc, informative, prior)            a rate's own correlation, weighted by its informative questions, with four questions' worth of the prior
-- n_effective(n, sizes, icc)                      completions over Kish's design effect 1 + (sizes / n - 1) * icc, at most n; sizes is the sum over questions
--                                                 of the squared number of completions
-- rate_low(rate, n_effective, t), rate_high       ends of the interval; t is a quantile of Student's t with the degrees of freedom of cr2_df: one less than
--                                                 questions where they were asked equally often, fewer where one of them holds most answers
--
-- A rate near 0 or 1 says little of its own design effect (one hit always gives 1, none gives no figure), which is why a plain t interval is then too short
-- or missing. Measured coverage stands in docs/statistics.md; where the other rates of a family are spread much less over questions than a rare one is (0
-- against 0.3), the prior misleads and an interval of nominally 95% covers as little as 73%.
--
-- Source: Wilson 1927; Kish 1965 (design effect); Korn and Graubard 1998 (effective sample and t for proportions of surveys); weights own, by simulation.

create or replace macro rate_icc(n, rate, n_clusters, squares, sizes) as
    case
        when n_clusters > 1 and sizes > n and rate > 0 and rate < 1
            then (squares / (n * rate * (1 - rate)) - 1) / (sizes / n - 1)
    end;

create or replace macro n_informative(present, trials) as least(count(*) filter (present > 0), count(*) filter (present < trials));

create or replace macro prior_icc(icc, informative, family) as
    (
        sum(case when icc is null then 0 else icc * informative end) over (partition by family)
        - case when icc is null then 0 else icc * informative end
        + 4 * 0.15
    ) / (
        sum(case when icc is null then 0 else informative end) over (partition by family)
        - case when icc is null then 0 else informative end
        + 4
    );

create or replace macro settled_icc(icc, informative, prior) as
    case when icc is null then prior else (icc * informative + 4 * prior) / (informative + 4) end;

create or replace macro n_effective(n, sizes, icc) as
    case when sizes is not null and icc is not null then n / greatest(1, 1 + (sizes / n - 1) * icc) end;

create or replace macro rate_low(rate, n_effective, t) as wilson_low(rate * n_effective, n_effective, t);
create or replace macro rate_high(rate, n_effective, t) as wilson_high(rate * n_effective, n_effective, t);
