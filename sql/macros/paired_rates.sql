-- The interval of the difference of two rates of the same n questions, from the questions that only one side has right.
--
-- paired_rate_centre(gained, lost, n)     its centre: (gained - lost) / (n + 2)
-- paired_rate_reach(gained, lost, n, z)   half its width; z defaults to the 95% level; above 0 also where no question differs
--
-- Source: Bonett and Price, Journal of Educational and Behavioral Statistics 37, 2012: Wald's interval with one question more that was gained and one more that was lost.
create or replace macro paired_rate_centre(gained, lost, n) as (gained - lost) / (n + 2);
create or replace macro paired_rate_reach(gained, lost, n, z := 1.959963984540054) as
    z * sqrt((gained + lost + 2 - (gained - lost) ** 2 / (n + 2)) / (n + 2) ** 2);
