-- emergence: the layer at which the target becomes the top-1 token of the logit lens and stays it
-- grain: run_id, example_id, sample_ix, stratum, position
-- outcomes: reason, token_before, script_before, final_token
-- source: own; after the echo write-up ("which layer the correct token emerges at"), with the first time beside the last and ties as no emergence. Of a prompt
--   that names no target the model's own first choice is read
-- columns:
--   n_layers: layers that were read, the embeddings (layer -1) not counted
--   emergence_layer: first layer from which on the target alone is top-1, up to the last (-1: the embeddings; NULL with reason)
--   reason: why there is none: tied (the target shares the highest logit at the last layer) or never (another token is top-1 at the last layer)
--   first_layer: first layer where the target alone is top-1 (NULL: none)
--   n_lost: layers behind first_layer where the target is not alone at the top: times the model changes its mind
--   n_lost_to_spelling: those of n_lost whose top-1 token is the target but for spaces and capitals
--   n_tied: layers where the target shares the highest logit with another token
--   emergence_layer_normalised: as emergence_layer, with "cat", " cat" and "Cat" as one word
--   first_layer_normalised: as first_layer, likewise
--   token_before: top-1 token of the layer before emergence_layer (NULL where there is no such layer)
--   script_before: script of its letters
--   n_other_script: layers before emergence_layer whose top-1 token is in another script than the target's, tokens without letters not counted
--   final_token: top-1 token of the last layer
--   final_is_target_normalised: final_token is the target but for spaces and capitals
--   final_prob: probability of the target at the last layer
with tops as (
  select * from logit_lens where rank = 1 and stratum <> 'every'
),
seconds as (
  select run_id, example_id, sample_ix, stratum, position, layer, logit from logit_lens where rank = 2 and stratum <> 'every'
),
spelled as (
  select run_id, example_id, sample_ix, stratum, position, any_value(token) as token, any_value(script) as script
  from logit_lens
  where token_id = target_id and stratum <> 'every'
  group by run_id, example_id, sample_ix, stratum, position
),
known as (
  select run_id, example_id, sample_ix, stratum, position, any_value(target_token) as target_token
  from predictions
  group by run_id, example_id, sample_ix, stratum, position
),
marked as (
  select
    t.*,
    coalesce(k.target_token, p.token) as target_token,
    p.script as target_script,
    t.token_id = t.target_id as is_top,
    t.logit = t.target_logit and not is_top or is_top and coalesce(s.logit = t.logit, false) as is_tied,
    is_top and not is_tied as is_alone,
    is_alone or same_word(t.token, coalesce(k.target_token, p.token)) as is_same_word
  from tops as t
  left join seconds as s
    on s.run_id = t.run_id
    and s.example_id = t.example_id
    and s.sample_ix is not distinct from t.sample_ix
    and s.stratum = t.stratum
    and s.position = t.position
    and s.layer = t.layer
  left join spelled as p
    on p.run_id = t.run_id
    and p.example_id = t.example_id
    and p.sample_ix is not distinct from t.sample_ix
    and p.stratum = t.stratum
    and p.position = t.position
  left join known as k
    on k.run_id = t.run_id
    and k.example_id = t.example_id
    and k.sample_ix is not distinct from t.sample_ix
    and k.stratum = t.stratum
    and k.position = t.position
),
placed as (
  select
    *,
    max(layer) over path as last_layer,
    min(layer) filter (is_alone) over path as first_layer,
    max(layer) filter (is_alone is not true) over path as last_other,
    min(layer) filter (is_same_word) over path as first_layer_normalised,
    max(layer) filter (is_same_word is not true) over path as last_other_normalised,
    lag(token) over steps as token_before,
    lag(script) over steps as script_before,
    min(layer) over path as lowest_layer
  from marked
  window
    path as (partition by run_id, example_id, sample_ix, stratum, position),
    steps as (partition by run_id, example_id, sample_ix, stratum, position order by layer)
),
settled as (
  select
    *,
    case when last_other is null then lowest_layer when last_other < last_layer then min(layer) filter (layer > last_other) over path end as emergence_layer,
    case
      when last_other_normalised is null then lowest_layer
      when last_other_normalised < last_layer then min(layer) filter (layer > last_other_normalised) over path
    end as emergence_layer_normalised
  from placed
  window path as (partition by run_id, example_id, sample_ix, stratum, position)
),
final as (
  select
    run_id,
    any_value(subject) as subject,
    any_value(checkpoint) as checkpoint,
    any_value(prompt_set) as prompt_set,
    any_value(persona) as persona,
    any_value(condition) as condition,
    any_value(category) as category,
    any_value(question_id) as question_id,
    example_id,
    sample_ix,
    any_value(prompt_form) as prompt_form,
    any_value(target) as target,
    any_value(target_token) as target_token,
    stratum,
    position,
    count(*) filter (layer >= 0) as n_layers,
    any_value(emergence_layer) as emergence_layer,
    case
      when any_value(emergence_layer) is not null then null
      when bool_or(is_tied) filter (layer = last_layer) then 'tied'
      else 'never'
    end as reason,
    any_value(first_layer) as first_layer,
    count(*) filter (layer > first_layer and not is_alone) as n_lost,
    count(*) filter (layer > first_layer and not is_alone and is_same_word) as n_lost_to_spelling,
    count(*) filter (is_tied) as n_tied,
    any_value(emergence_layer_normalised) as emergence_layer_normalised,
    any_value(first_layer_normalised) as first_layer_normalised,
    any_value(token_before) filter (layer = emergence_layer) as token_before,
    any_value(script_before) filter (layer = emergence_layer) as script_before,
    count(*) filter (layer < emergence_layer and script <> target_script) as n_other_script,
    any_value(token) filter (layer = last_layer) as final_token,
    bool_or(is_same_word) filter (layer = last_layer) as final_is_target_normalised,
    any_value(target_prob) filter (layer = last_layer) as final_prob
  from settled
  group by run_id, example_id, sample_ix, stratum, position
)
select * from final
