-- claim_verdicts: what the data say of a published sentence, as checked once
-- key: run_id, study, claim
-- sort: study, place
-- outcomes: verdict, found
create table claim_verdicts (
  run_id varchar, -- the run
  study varchar, -- study, or file without its ending, that makes the claim
  claim varchar, -- id of the claim in that file
  place integer, -- order in the file, from 0
  statement varchar, -- the sentence as published
  source varchar, -- where it stands
  verdict varchar, -- confirmed, imprecise (true at a coarser rounding or on a narrower scope), contradicted, or not derivable (data are missing)
  measured varchar, -- what the query gives, by the name of its first column
  expected varchar, -- published value as printed
  found varchar, -- value the query gave (NULL where it gave none)
  detail varchar, -- at which rounding or scope it is true, what else the query shows, or which data are missing
  query varchar, -- the SQL that was asked
  lake_state varchar, -- fingerprint of the runs that were in the lake, as the view lake_state gives it
  lake_runs bigint, -- how many they were
  n_rows bigint, -- rows of the lake the query looked at (NULL where it was not asked, or is no single SELECT)
  fingerprint varchar, -- hash of the claim as it stood: statement, query, expected value and how they are compared
  model varchar, -- checkpoint that was asked (NULL where the sentence speaks of no model of this lake)
  replication boolean -- the sentence was published of another model than that
);
