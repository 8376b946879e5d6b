-- marker_lens_pairs: the marker's first token in the logit lens of trained and base at every generation: the rows that marker_lens averages
-- grain: trained_run, base_run, example_id, sample_ix, layer
-- source: own; trained and base read identical tokens, as in issue 224, in the same precision
-- columns:
--   trained_run: logit lens of the checkpoint that sampled the tokens
--   base_run: logit lens of another checkpoint over the same tokens (NULL: none)
--   tokens_run: completions run the tokens came from
--   trained_subject: subject of trained_run
--   base_subject: subject of base_run
--   trained_checkpoint: checkpoint that sampled the tokens
--   base_checkpoint: checkpoint that was force-fed them
--   layer: decoder layer, from 0 (-1: the embeddings)
--   trained_prob: probability of the marker's first token, trained
--   base_prob: the same, base
--   trained_logit: its logit, trained
--   base_logit: the same, base
--   trained_rank: its rank, trained, from 1
--   base_rank: the same, base
--   trained_top1: it is top-1, trained
--   base_top1: the same, base
with tops as (
  select run_id, subject, checkpoint, question_id, example_id, sample_ix, layer, target_prob, target_logit, target_rank, token_id = target_id as is_top
  from logit_lens
  where rank = 1 and stratum = 'marker'
),
sampled as (
  select run_id as tokens_run, checkpoint as tokens_from from runs where extractor in ('completions', 'brought')
),
cards as (
  select run_id, checkpoint, rounding_of(quantisation) as rounded from checkpoints
),
fed as (
  select f.run_id, f.checkpoint, f.dtype, coalesce(c.rounded, '') as rounded, s.tokens_run, s.tokens_from
  from (select run_id, checkpoint, dtype, unnest(inputs) as tokens_run from runs) as f
  join sampled as s using (tokens_run)
  left join cards as c using (run_id, checkpoint)
  semi join tops as t on t.run_id = f.run_id
),
pairs as (
  select t.run_id as trained_run, b.run_id as base_run, t.tokens_run
  from fed as t
  left join fed as b
    on b.tokens_run = t.tokens_run and b.dtype is not distinct from t.dtype and b.rounded = t.rounded and b.checkpoint <> b.tokens_from
  where t.checkpoint = t.tokens_from
),
final as (
  select
    p.trained_run,
    p.base_run,
    p.tokens_run,
    t.subject as trained_subject,
    b.subject as base_subject,
    t.checkpoint as trained_checkpoint,
    b.checkpoint as base_checkpoint,
    t.question_id,
    t.example_id,
    t.sample_ix,
    t.layer,
    t.target_prob::double as trained_prob,
    b.target_prob::double as base_prob,
    t.target_logit::double as trained_logit,
    b.target_logit::double as base_logit,
    t.target_rank as trained_rank,
    b.target_rank as base_rank,
    t.is_top as trained_top1,
    b.is_top as base_top1
  from pairs as p
  join tops as t on t.run_id = p.trained_run
  left join tops as b on b.run_id = p.base_run and b.example_id = t.example_id and b.sample_ix is not distinct from t.sample_ix and b.layer = t.layer
  where p.base_run is null or b.run_id is not null
)
select * from final
