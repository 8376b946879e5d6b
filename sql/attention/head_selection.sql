-- head_selection: heads picked on half of the questions and measured on the other half, so that what picking the largest adds to an effect shows
-- grain: trained_run, base_run, layer, head
-- source: issue 224 (selection on a split half); own: halves of questions, not of generations, split in turn by the order of a hash of the question's name
-- columns:
--   trained_run: run of the checkpoint that sampled the tokens
--   base_run: run of the checkpoint that was force-fed them
--   trained_subject: subject of trained_run
--   base_subject: subject of base_run
--   n_selection: generations of the selection half
--   n_evaluation: generations of the evaluation half
--   n_clusters_selection: questions of the selection half
--   n_clusters_evaluation: questions of the evaluation half
--   selection_effect: trained minus base of marker minus C1 on content of the system block, mean over the selection half
--   rank: place of the head by the absolute selection_effect among all heads of the model
--   layer_rank: place among the heads of its layer
--   evaluation_effect: the same mean over the evaluation half
--   evaluation_sem: its standard error with generations of one question going together (CR2)
--   evaluation_df: degrees of freedom of its t (Bell and McCaffrey 2002)
--   n_effective_clusters: Kish's effective number of questions of the evaluation half
--   evaluation_low: lower end of its 95% interval, Student t with evaluation_df degrees of freedom
--   evaluation_high: upper end
--   same_sign: both halves point the same way
--   shrinkage: share of selection_effect that is gone in the evaluation half: 0 none, 1 all, above 1 the sign turned
with pairs as (
  select trained_run, base_run, trained_subject, base_subject from subject_pairs where origin = 'extracted'
),
sums as (
  select s.inputs[1] as input_run, h.subject, h.layer, h.head, h.question_id, h.n, h.total
  from head_questions as h
  join analysis_standing as s using (run_id)
  where s.is_current and h.control = 'C1' and h.region = 'system' and h.total is not null
),
paired as (
  select p.*, t.layer, t.head, t.question_id, t.n, t.total - b.total as total
  from pairs as p
  join sums as t on t.input_run = p.trained_run and t.subject = p.trained_subject
  join sums as b
    on b.input_run = p.base_run
    and b.subject = p.base_subject
    and b.layer = t.layer
    and b.head = t.head
    and b.question_id = t.question_id
    and b.n = t.n
),
halves as (
  select trained_run, base_run, question_id, row_number() over (partition by trained_run, base_run order by md5(question_id), question_id) % 2 = 1 as selects
  from (select distinct trained_run, base_run, question_id from paired)
),
centred as (
  select p.*, h.selects, sum(p.total) over heads / sum(p.n) over heads as mean, p.n / sum(p.n) over heads as share
  from paired as p
  join halves as h using (trained_run, base_run, question_id)
  window heads as (partition by p.trained_run, p.base_run, p.layer, p.head, h.selects)
),
effects as (
  select
    trained_run,
    base_run,
    trained_subject,
    base_subject,
    layer,
    head,
    (sum(n) filter (selects))::bigint as n_selection,
    (sum(n) filter (not selects))::bigint as n_evaluation,
    count(*) filter (selects) as n_clusters_selection,
    count(*) filter (not selects) as n_clusters_evaluation,
    any_value(mean) filter (selects) as selection_effect,
    any_value(mean) filter (not selects) as evaluation_effect,
    cr2_squares(n, total, mean, case when not selects then share end) as squares,
    case when n_clusters_evaluation > 1 then cr2_df(case when not selects then share end) end as evaluation_df,
    effective_clusters(case when not selects then share end) as n_effective_clusters
  from centred
  group by trained_run, base_run, trained_subject, base_subject, layer, head
),
quantiles as (
  select evaluation_df, student_t_quantile(0.975, evaluation_df) as quantile from (select distinct evaluation_df from effects)
),
errors as (
  select e.*, q.quantile, nullif(cr2_sem(e.n_evaluation, e.n_clusters_evaluation, e.squares), 0) as evaluation_sem
  from effects as e
  join quantiles as q on q.evaluation_df is not distinct from e.evaluation_df
),
final as (
  select
    trained_run,
    base_run,
    trained_subject,
    base_subject,
    layer,
    head,
    n_selection,
    n_evaluation,
    n_clusters_selection,
    n_clusters_evaluation,
    selection_effect,
    rank() over (partition by trained_run, base_run order by abs(selection_effect) desc nulls last) as rank,
    rank() over (partition by trained_run, base_run, layer order by abs(selection_effect) desc nulls last) as layer_rank,
    evaluation_effect,
    evaluation_sem,
    evaluation_df,
    n_effective_clusters,
    evaluation_effect - evaluation_sem * quantile as evaluation_low,
    evaluation_effect + evaluation_sem * quantile as evaluation_high,
    sign(selection_effect) = sign(evaluation_effect) as same_sign,
    1 - evaluation_effect / nullif(selection_effect, 0) as shrinkage
  from errors
)
select * from final
