-- cohens_d(mean_a, sd_a, n_a, mean_b, sd_b, n_b): difference of two means over their pooled standard deviation (Cohen 1988); NULL where neither side varies or
--   a side has fewer than two.
create or replace macro cohens_d(mean_a, sd_a, n_a, mean_b, sd_b, n_b) as
    case
        when n_a > 1 and n_b > 1 and sd_a::double + sd_b > 0 then
            (mean_a::double - mean_b) / sqrt(((n_a - 1) * sd_a::double ** 2 + (n_b - 1) * sd_b::double ** 2) / (n_a + n_b - 2))
    end;
