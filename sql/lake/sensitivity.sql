-- sensitivity: how far the answer of every study question hangs on choices that could have been made otherwise
-- grain: question, run_id, base_run, subject, marker
-- source: own; the specifications stand in sensitivity_attention, sensitivity_regimes, sensitivity_rfc and sensitivity_features
-- columns:
--   question: did training move attention, is the cell clean, did tuning compress RFC, or do features differ
--   run_id: run the answer comes from: the trained checkpoint's attention, completions, the instruct variant or the analysis of features
--   base_run: run it is compared with (NULL where there is none)
--   subject: trained subject, checkpoint, family, or pair of conditions
--   marker: marker of a cell (NULL of other questions)
--   conclusion: under the reference choice (NULL where that is missing)
--   n_choices: choices
--   n_same: choices with that conclusion (NULL without one)
--   share_same: n_same over n_choices
select 'did training move attention' as question, trained_run as run_id, base_run, trained_subject as subject, null::varchar as marker, any_value(reference) as conclusion,
  any_value(n_choices) as n_choices, any_value(n_same) as n_same, any_value(share_same) as share_same
from sensitivity_attention
group by trained_run, base_run, trained_subject
union all
select 'is the cell clean', run_id, null, any_value(checkpoint), marker, any_value(reference), any_value(n_choices), any_value(n_same), any_value(share_same)
from sensitivity_regimes
group by run_id, marker
union all
select 'did tuning compress RFC', instruct_run, base_run, family, null, any_value(reference), any_value(n_choices), any_value(n_same), any_value(share_same)
from sensitivity_rfc
group by instruct_run, base_run, family
union all
select 'do features differ', run_id, null, condition_a || ' against ' || condition_b || ', ' || sae_id, null, any_value(reference), any_value(n_choices), any_value(n_same),
  any_value(share_same)
from sensitivity_features
group by run_id, sae_id, condition_a, condition_b
