-- What this lake holds, in five numbers.
select n_runs, n_checkpoints, n_personas, n_completions, n_rows from lake_size
