-- layers_as_replicates: a test that counts layers as independent falls on the other side of 0.05 than the one over questions
-- grain: subject
-- source: own; the published case is p > 0.05 from 28 layers. A sign test over fewer than six layers cannot reach 0.05 and is left out
-- severity: warning
-- page: marker_attention
-- columns:
--   subject: trained and base subject
with summaries as (
  select *, coalesce(clustered_p, paired_p) as sound_p from diff_of_diffs_summary where n_layers >= 6
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
  from summaries
  where (layer_sign_test_p < 0.05) <> (sound_p < 0.05)
)
select * from final
