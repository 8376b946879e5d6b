-- layers_as_replicates: a test that counts layers as independent falls on the other side of 0.05 than the one over questions, and something hangs on it
-- grain: subject
-- source: own; the published case is p > 0.05 from 28 layers where generations tell the mean from 0. A sign test over fewer than six layers cannot reach 0.05 and
--   is left out. Of two models that do not differ, layers seem to in a third of the cases, since they move together: that alone is said where a claim counts layers
-- severity: warning
-- page: marker_attention
-- columns:
--   subject: trained and base subject
with summaries as (
  select *, coalesce(clustered_p, paired_p) as sound_p from diff_of_diffs_summary where n_layers >= 6
),
leaning as (
  select distinct query
  from claim_verdicts
  where contains(query, 'diff_of_diffs') and regexp_matches(query, 'layer_sign_test_p|n_positive|n_above|n_below')
),
judged as (
  select *, exists (select 1 from leaning as l where contains(l.query, sql_text(s.trained_subject))) as is_claimed from summaries as s
),
final as (
  select
    subject_of(format('{} against {}', trained_subject, base_subject), concat_ws(' and ', trained_run, base_run)) as subject,
    format(
      'over {} layers {} ({} positive), but layers are not replicates: over {} generations t = {:.2f}, {}{}',
      n_layers,
      p_words(layer_sign_test_p),
      n_positive,
      n,
      paired_t,
      p_words(paired_p),
      case when clustered_p is null then '' else format(', by question {}', p_words(clustered_p)) end
    ) as finding,
    format(
      'select n_layers, n_positive, layer_sign_test_p, n, paired_t, paired_p, n_clusters, clustered_p from diff_of_diffs_summary '
      || 'where trained_run = {} and base_run = {}',
      sql_text(trained_run),
      sql_text(base_run)
    ) as evidence
  from judged
  where (layer_sign_test_p >= 0.05 and sound_p < 0.01) or ((layer_sign_test_p < 0.05) <> (sound_p < 0.05) and is_claimed)
)
select * from final
