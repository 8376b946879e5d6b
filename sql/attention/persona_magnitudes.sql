-- persona_magnitudes: how large the marker's effect on attention to the system prompt is in each persona, at its strongest layer, and who is ahead
-- grain: run_id, subject
-- source: issue 224 (peak of marker minus C1); interval and ranking as own addition, Bonferroni over layers since the strongest was picked after looking
-- columns:
--   origin: extracted or published
--   n: examples
--   n_clusters: questions among them (NULL where the published rows are not joined to their positives)
--   n_distinct: distinct values of delta among them
--   n_layers: layers to pick from
--   peak_layer: layer of the largest absolute mean of marker minus C1, the first on ties
--   peak_delta: that mean with its sign
--   magnitude: its absolute value
--   clustered_sem: its standard error with examples of one question going together (CR2)
--   clustered_df: degrees of freedom of its t (Bell and McCaffrey)
--   low: lower end of the 95% interval of peak_delta, all layers at once
--   high: upper end
--   rank: place by magnitude among readouts alike: same origin, forced or not, same reader where forced, same precision
--   n_ranked: readouts so compared
--   n_personas: personas among them
--   ratio: magnitude over the largest so compared
--   spread: largest minus smallest magnitude so compared
with effects as (
  select * from attention_effects where control = 'C1'
),
ordered as (
  select
    *,
    count(*) over (partition by run_id, subject) as n_layers,
    row_number() over (partition by run_id, subject order by abs(mean_delta) desc, layer) as place
  from effects
),
peaks as (
  select
    r.run_id,
    r.subject,
    r.persona,
    r.checkpoint,
    r.tokens_from,
    r.forced,
    r.origin,
    r.dtype,
    r.attention_implementation,
    case when r.forced then r.checkpoint end as reader,
    o.n,
    o.n_clusters,
    o.n_distinct,
    o.n_layers,
    o.layer as peak_layer,
    o.mean_delta as peak_delta,
    abs(o.mean_delta) as magnitude,
    o.clustered_sem,
    o.clustered_df,
    t_half_width(o.clustered_sem, o.clustered_df, 1.0 / o.n_layers) as half_width
  from subjects as r
  join ordered as o using (run_id, subject)
  where o.place = 1
),
final as (
  select
    run_id,
    subject,
    persona,
    checkpoint,
    tokens_from,
    forced,
    origin,
    dtype,
    attention_implementation,
    n,
    n_clusters,
    n_distinct,
    n_layers,
    peak_layer,
    peak_delta,
    magnitude,
    clustered_sem,
    clustered_df,
    peak_delta - half_width as low,
    peak_delta + half_width as high,
    rank() over (partition by origin, forced, reader, dtype, attention_implementation order by magnitude desc) as rank,
    count(*) over alike as n_ranked,
    count(distinct persona) over alike as n_personas,
    magnitude / nullif(max(magnitude) over alike, 0) as ratio,
    max(magnitude) over alike - min(magnitude) over alike as spread
  from peaks
  window alike as (partition by origin, forced, reader, dtype, attention_implementation)
)
select * from final
