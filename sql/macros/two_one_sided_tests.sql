-- Did it move? A null result is a test of its own: that the effect lies within a margin which was written down before (thresholds).
--
-- equivalence_p(mean, sem, df, margin)   p of two one-sided t tests that mean lies within ±margin, the larger of the two; NULL without a standard error
-- movement_of(is_equivalent, is_other)   equivalent where the effect is shown to lie within the margin, even if it is other than zero; else moved where it is told from
--                                        zero; else cannot tell. A NULL is not shown
--
-- Source: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987; at 0.05 it is the same as a 90% interval within ±margin. "Equivalent in every one of
-- many" needs no adjustment (intersection-union test, Berger 1982).
create or replace macro equivalence_p(mean, sem, df, margin) as case when sem > 0 and margin > 0 then student_t_cdf((abs(mean) - margin) / sem, df) end;
create or replace macro movement_of(is_equivalent, is_other) as
    case when is_equivalent then 'equivalent' when is_other then 'moved' else 'cannot tell' end;
