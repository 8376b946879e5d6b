-- family_p: p of the members of a family adjusted for all of them, as far as the analysis that computed it still stands
-- grain: figure, first_run, second_run, subject, stratum, prompt_form, measure, donor, direction, site, layer, head
-- source: own; max-T (Westfall and Young 1993) by sign flips of questions, beside it bootstrap-t (Hall 1988); rows of `family_tests` whose inputs are unchanged
-- columns:
--   run_id: the analysis run
--   figure: view whose figure is tested
--   first_run: run that was read; of marker_lens the trained one, of head_worths the attributions
--   second_run: the base run of marker_lens, the ablations of head_worths (NULL: none)
--   stratum: control of attention_effects, else place that was read
--   prompt_form: phrasing of the task, none or all (NULL of attention)
--   measure: measure of head_worths, prob or logit of marker_lens, log_prob of patch_effects (NULL of attention)
--   donor: donor of patch_effects
--   direction: direction of patch_effects
--   site: site of patch_effects
--   n_members: members tested together
--   p: two-sided sign-flip p of this member alone; the null is that both sides are exchangeable within a question, not that means are equal
--   adjusted_p: adjusted for all members of the family; of end_of_answer_contrast by bootstrap-t
--   bootstrap_t_p: p of this member alone, of a mean of 0 whatever the shape of the differences
--   bootstrap_t_adjusted_p: the same adjusted for all members of the family
select t.*
from family_tests as t
join analysis_standing as s using (run_id)
where s.is_current
