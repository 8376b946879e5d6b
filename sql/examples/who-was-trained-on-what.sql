-- What each persona was in a training: source, negative or held out, and whether the training said so.
select checkpoint, persona, role, n_rows, recorded
from persona_roles
order by checkpoint, role, persona
