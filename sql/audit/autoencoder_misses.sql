-- autoencoder_misses: activations that the autoencoder does not describe: it leaves half of them unexplained or more, so that its features stand for the rest
-- grain: subject
-- source: own; another model, layer, site or scale than it was trained on, or tokens it never saw (dictionaries are trained without the first tokens)
-- severity: warning
-- page: features
-- columns:
--   subject: checkpoint and autoencoder, and the place that was read
with reconstructions as (
  select run_id, checkpoint, sae_id, layer, site, stratum, count(*) as n, avg(unexplained) as unexplained
  from feature_examples
  group by run_id, checkpoint, sae_id, layer, site, stratum
),
limits as (
  select value from thresholds where name = 'autoencoder_unexplained'
),
final as (
  select
    subject_of(concat_ws(', ', format('{} by {}', checkpoint, sae_id), stratum), run_id) as subject,
    format('{:.0f}% of the squared activation is left unexplained at {} of layer {}, mean of {} readings', 100 * unexplained, site, layer, n) as finding,
    format(
      'select condition, question_id, norm, n_active, unexplained from feature_examples where run_id = {} and sae_id = {} and stratum = {} order by unexplained desc',
      sql_text(run_id),
      sql_text(sae_id),
      sql_text(stratum)
    ) as evidence
  from reconstructions, limits
  where unexplained >= value
)
select * from final
