-- feature_prompts: how strongly each prompt activates a feature, strongest first: what the feature answers to
-- grain: run_id, sae_id, layer, site, stratum, feature, example_id, sample_ix
-- source: own
-- columns:
--   question: the user's words (NULL for a place of an answer)
--   value: activation of the feature
--   place: order by value among the prompts that activate the feature, from 1
--   n_firing: prompts that activate it
--   neuronpedia_url: page of the feature on Neuronpedia (NULL where the autoencoder's files name none)
with asked as (
  select run_id, example_id, any_value(question) as question from examples group by run_id, example_id
),
sources as (
  select run_id, sae_id, max(neuronpedia) as neuronpedia from sae group by run_id, sae_id
),
final as (
  select
    f.run_id,
    f.checkpoint,
    f.sae_id,
    f.layer,
    f.site,
    f.stratum,
    f.feature,
    f.condition,
    f.question_id,
    f.example_id,
    f.sample_ix,
    a.question,
    f.value,
    row_number() over (feature order by f.value desc, f.example_id, f.sample_ix) as place,
    count(*) over feature as n_firing,
    neuronpedia_page(s.neuronpedia, f.feature) as neuronpedia_url
  from features as f
  left join asked as a using (run_id, example_id)
  left join sources as s using (run_id, sae_id)
  window feature as (partition by f.run_id, f.sae_id, f.layer, f.site, f.stratum, f.feature)
)
select * from final
