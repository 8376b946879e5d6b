-- forced_across_tokenizers: tokens of one checkpoint were read by another whose tokenizer or chat template is not the same: its ids mean other text there
-- grain: subject
-- source: own; other rows of the embedding, another family, other text for one id, or another template for the prompts
-- severity: error
-- page: marker_attention
-- columns:
--   subject: reader and sampler of the tokens
with readings as (
  select distinct run_id, checkpoint, tokens_run, tokens_from from positions where checkpoint is distinct from tokens_from and tokens_run is not null
),
cards as (
  select run_id, checkpoint, family, vocab_size from checkpoints
),
templates as (
  select run_id, string_agg(distinct template_hash, ', ' order by template_hash) as hash from examples where template_hash is not null group by run_id
),
of_reader as (
  select r.checkpoint, string_agg(distinct t.hash, ', ' order by t.hash) as hash
  from templates as t
  join runs as r using (run_id)
  group by r.checkpoint
),
pieces as (
  select run_id, tokens_run, token_id, min(token) as token from positions where token is not null group by run_id, tokens_run, token_id having count(distinct token) = 1
),
other_text as (
  select a.run_id, count(*) as n, count(*) filter (a.token <> b.token) as n_other
  from pieces as a
  join pieces as b on b.tokens_run = a.tokens_run and b.token_id = a.token_id
  where a.run_id in (select run_id from readings) and b.run_id not in (select run_id from readings)
  group by a.run_id
),
judged as (
  select
    g.run_id,
    g.checkpoint,
    g.tokens_from,
    g.tokens_run,
    case when b.vocab_size <> s.vocab_size then format('a vocabulary of {} against {} tokens', b.vocab_size, s.vocab_size) end as vocabulary,
    case when b.family <> s.family then format('family {} against {}', b.family, s.family) end as family,
    case when o.n_other > 0 then format('{} of {} ids stand for other text', o.n_other, o.n) end as text,
    case
      when coalesce(own.hash, elsewhere.hash) <> t.hash and not contains(coalesce(own.hash, elsewhere.hash), t.hash) then 'another chat template than the prompts were rendered by'
    end as template
  from readings as g
  left join cards as b on b.run_id = g.run_id and b.checkpoint = g.checkpoint
  left join cards as s on s.run_id = g.tokens_run and s.checkpoint = g.tokens_from
  left join templates as t on t.run_id = g.tokens_run
  left join templates as own on own.run_id = g.run_id
  left join of_reader as elsewhere on elsewhere.checkpoint = g.checkpoint
  left join other_text as o on o.run_id = g.run_id
),
final as (
  select
    subject_of(format('{} on tokens of {}', checkpoint, tokens_from), run_id) as subject,
    concat_ws('; ', vocabulary, family, text, template) as finding,
    format(
      'select run_id, checkpoint, family, vocab_size, (select any_value(template_hash) from examples as e where e.run_id = c.run_id) as template_hash '
      || 'from checkpoints as c where run_id in ({}, {})',
      sql_text(run_id),
      sql_text(tokens_run)
    ) as evidence
  from judged
  where coalesce(vocabulary, family, text, template) is not null
)
select * from final
