-- rfc_pairs: base and instruct readings of one family and size that can be compared: the same prompts in the same form, read in the same precision;
--   of several readings of the same weights the newest
-- grain: base_run, instruct_run
-- source: own; a pair of published variants is one run and stands in rfc_diff alone
-- columns:
--   base_run: entropy run of the base variant
--   instruct_run: entropy run of the instruct variant
--   family: architecture of both
--   base_checkpoint: checkpoint of base_run
--   instruct_checkpoint: checkpoint of instruct_run
--   prompt_set: name and version of the prompt set
--   form: raw or chat, of both
select base_run, instruct_run, family, base_checkpoint, instruct_checkpoint, prompt_set, form
from rfc_candidates
where base_precision = instruct_precision
