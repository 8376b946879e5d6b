-- Checkpoints by persona and extractor that are missing: no base run for a persona, no attention of one.
select checkpoint, persona, extractor, tokens_from, status
from coverage
where status = 'missing'
order by extractor, checkpoint, persona
