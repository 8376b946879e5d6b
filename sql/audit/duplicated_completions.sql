-- duplicated_completions: completions of one question that are copies of each other, counted as samples
-- grain: subject
-- source: own; sampled answers of a dozen words are rarely the same by chance (three fifths are), shorter ones where nearly none stands once
-- severity: warning
-- page: completions
-- columns:
--   subject: checkpoint and persona
with texts as (
  select run_id, checkpoint, persona, question_id, text, count(*) as n, len(regexp_extract_all(text, '[\pL\pN]+')) as n_words
  from completions
  where length(trim(text)) > 0
  group by run_id, checkpoint, persona, question_id, text
),
questions as (
  select run_id, checkpoint, persona, question_id, count(*) as n_texts from texts group by run_id, checkpoint, persona, question_id
),
counted as (
  select
    t.run_id,
    t.checkpoint,
    t.persona,
    sum(t.n) as n,
    count(*) as n_texts,
    sum(t.n) filter (t.n > 1) as n_copied,
    coalesce(sum(t.n) filter (t.n > 1 and t.n_words >= 12), 0) as n_long,
    count(*) filter (q.n_texts > 1) as n_varied
  from texts as t
  join questions as q using (run_id, checkpoint, persona, question_id)
  group by t.run_id, t.checkpoint, t.persona
),
final as (
  select
    subject_of(format('{} as {}', checkpoint, persona), run_id) as subject,
    format('{} of {} completions stand more than once under their question: {} different texts', n_copied, n, n_texts) as finding,
    format(
      'select question_id, text, count(*) as n, list(sample_ix order by sample_ix) as samples from completions where run_id = {} and persona = {} '
      || 'group by question_id, text having count(*) > 1 order by n desc',
      sql_text(run_id),
      sql_text(persona)
    ) as evidence
  from counted
  where (n_long >= 4 and n_long >= 0.6 * n) or (n_copied >= 0.9 * n and n >= 8 and n_varied >= 4)
)
select * from final
