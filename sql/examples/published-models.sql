-- Which model a published study means by a family's name, with its layers and heads.
select family, n_layers, n_heads, base from published_models order by family, n_layers
