-- Log-probabilities from probabilities as they are stored, in float32.
--
-- log_prob(prob)               natural logarithm in double precision; a probability of 0, which lies below the smallest float32, counts as that (1.4e-45, log -103.3)
-- nats_lost(base_prob, prob)   how much smaller the log-probability is than the unchanged one: positive where probability is lost
--
-- The result is NULL where an argument is NULL. Where a probability was read as the smallest float32, what is lost is a lower bound.

create or replace macro log_prob(prob) as case when prob is not null then ln(greatest(prob::double, 2::double ** -149)) end;

create or replace macro nats_lost(base_prob, prob) as log_prob(base_prob) - log_prob(prob);
