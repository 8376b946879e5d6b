-- head_entropy: attention entropy of every head by category of prompts, with how far the category stands apart from neutral prompts
-- grain: run_id, layer, head, category
-- source: own; Cohen's d with the pooled standard deviation over prompts
-- columns:
--   form: raw or chat; the two are never compared
--   mean: mean over prompts of the prompt's mean entropy over all positions, nats
--   sd: standard deviation over prompts
--   pooled: mean over the positions of all prompts together, as the published figures are computed
--   n: prompts
--   d_neutral: Cohen's d of the category against neutral (NULL for neutral itself, or where prompts do not vary)
--   d_confounder: Cohen's d against confounder
--   sink: mean attention to the first token
with readings as (
  select * from head_entropies
),
final as (
  select
    h.run_id,
    h.subject,
    h.checkpoint,
    h.prompt_set,
    h.form,
    h.layer,
    h.head,
    h.category,
    h.prompt_mean as mean,
    h.prompt_sd as sd,
    h.pooled,
    h.n,
    case when h.category <> 'neutral' then cohens_d(h.prompt_mean, h.prompt_sd, h.n, o.prompt_mean, o.prompt_sd, o.n) end as d_neutral,
    case when h.category <> 'confounder' then cohens_d(h.prompt_mean, h.prompt_sd, h.n, c.prompt_mean, c.prompt_sd, c.n) end as d_confounder,
    h.sink
  from readings as h
  left join readings as o on o.run_id = h.run_id and o.layer = h.layer and o.head = h.head and o.category = 'neutral'
  left join readings as c on c.run_id = h.run_id and c.layer = h.layer and c.head = h.head and c.category = 'confounder'
)
select * from final
