-- dyad_tests: does leakage follow closeness over pairs of source and persona, pooled over sources? Personas permuted as wholes (Mantel 1967)
-- key: run_id, cosines_run, layer, stratum, site, condition, centered, marker, category
-- sort: cosines_run, layer, stratum
create table dyad_tests (
  run_id varchar, -- the run
  cosines_run varchar, -- run the cosines come from: an activations run, or a published file
  layer integer, -- layer as the file counts it; own from 0
  stratum varchar, -- place the activations were read at (NULL for published cosines)
  site varchar, -- where in the layer they were read (NULL for published cosines)
  condition varchar, -- system-prompt condition (NULL where there is one only)
  centered boolean, -- the mean over personas was subtracted first (NULL where a published file does not say)
  marker varchar, -- marker whose leakage it is (NULL for published cosines)
  category varchar, -- category of personas (NULL: all)
  n integer, -- pairs of source and persona that every source has, configurations averaged
  n_sources integer, -- sources among them
  n_personas integer, -- personas among them, sources included
  rho double, -- Spearman correlation over these pairs
  p double, -- two-sided p of rho: personas change places in the rates alone, sources with sources and others with others
  method varchar, -- what was permuted
  resamples integer, -- permutations
  seed bigint -- seed of the draws
);
