-- published_models: which model a published study means by a family's name, and how many layers and heads it has
-- grain: family, n_layers
-- source: config.json of each model on the Hub; names as in mduffster/self-referent-test
-- columns:
--   family: what the study calls it, lower case
--   n_layers: decoder layers in the configuration; a family of another depth is another model
--   n_heads: query heads per layer in the configuration
--   base: Hub id of the base model
select *
from (
  values
    ('llama', 32, 32, 'meta-llama/Llama-3.1-8B'),
    ('mistral', 32, 32, 'mistralai/Mistral-7B-v0.1'),
    ('qwen', 28, 28, 'Qwen/Qwen2.5-7B')
) as t(family, n_layers, n_heads, base)
