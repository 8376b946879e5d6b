-- The fingerprint of all runs, by which an answer is known to be outdated.
select state, n_runs, newest from lake_state
