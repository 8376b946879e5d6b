-- circuit_runs: the newest logit lens, attribution, ablation and patching runs of each reader over the same prompts in the same form and precision
-- grain: subject, checkpoint, prompt_set, form, dtype, tokens_run
-- source: own; what is compared head by head comes from one row of it
-- columns:
--   form: chat or raw, as the prompts were rendered (NULL where tokens of completions were read, and where it is not recorded)
--   tokens_run: completions run the tokens came from (NULL where prompts were read)
--   lens_run: newest run of the logit lens (NULL: none)
--   attribution_run: newest run of direct attributions (NULL: none)
--   ablation_run: newest run of ablations (NULL: none)
--   patch_runs: all runs of patches into this reader, the newest first (NULL: none)
--   study: study of the newest of them
--   finished: end of the newest of them, UTC
with kinds as (
  select distinct run_id, 'lens' as kind from logit_lens
  union all
  select distinct run_id, 'attribution' from attributions
  union all
  select distinct run_id, 'ablation' from ablations
  union all
  select distinct run_id, 'patch' from patches
),
made as (
  select run_id, subject, checkpoint, prompt_set, dtype, inputs, study, finished from runs where kind = 'extract'
),
sampled as (
  select run_id as tokens_run from runs where extractor in ('completions', 'brought')
),
fed as (
  select f.run_id, s.tokens_run
  from (select run_id, unnest(inputs) as tokens_run from made) as f
  join sampled as s using (tokens_run)
),
rendered as (
  select run_id, min(plain_value(value)) as form from parameters where name = 'form' group by run_id
),
final as (
  select
    m.subject,
    m.checkpoint,
    m.prompt_set,
    case when f.tokens_run is null then r.form end as form,
    m.dtype,
    f.tokens_run,
    max_by(m.run_id, (m.finished, m.run_id)) filter (k.kind = 'lens') as lens_run,
    max_by(m.run_id, (m.finished, m.run_id)) filter (k.kind = 'attribution') as attribution_run,
    max_by(m.run_id, (m.finished, m.run_id)) filter (k.kind = 'ablation') as ablation_run,
    list(m.run_id order by m.finished desc, m.run_id) filter (k.kind = 'patch') as patch_runs,
    arg_max_null(m.study, (m.finished, m.run_id)) as study,
    max(m.finished) as finished
  from kinds as k
  join made as m using (run_id)
  left join fed as f using (run_id)
  left join rendered as r using (run_id)
  group by m.subject, m.checkpoint, m.prompt_set, case when f.tokens_run is null then r.form end, m.dtype, f.tokens_run
)
select * from final
