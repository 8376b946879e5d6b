-- registrations: what a study said before its first extraction: the hash of its file and every claim as it stood
-- key: run_id, study, claim
-- sort: study, place
create table registrations (
  run_id varchar, -- the run
  study varchar, -- study, or file without its ending, that makes the claims
  study_hash varchar, -- hash of the study file as it was run: its checkpoints, steps and settings
  claim varchar, -- id of a claim (NULL in the one row of a study without claims)
  place integer, -- order in the file, from 0
  fingerprint varchar, -- hash of the claim: statement, query, expected value and how they are compared
  statement varchar, -- the sentence
  expected varchar, -- the value it expects
  query varchar -- the SQL that decides it
);
