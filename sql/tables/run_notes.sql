-- run_notes: tags and a note that people wrote about a run, one row for every run that has some; kept in the lake beside its runs, and part of none
-- key: run_id
-- sort: run_id
create table run_notes (
  run_id varchar, -- the run they are about
  tags varchar[], -- short words to find it by, in the order of the alphabet
  note varchar -- what is to be known of it (NULL where it has tags alone)
);
