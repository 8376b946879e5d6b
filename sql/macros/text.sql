-- blanks(): the white space that trim is to remove; DuckDB's own trim knows the space alone.
create or replace macro blanks() as ' ' || chr(9) || chr(10) || chr(13);
-- same_words(text): a text without case and with single spaces, so that two spellings of it compare equal.
create or replace macro same_words(text) as lower(trim(regexp_replace(text, '\s+', ' ', 'g')));
-- is_made_on(made_on, half, asked_as): whether a direction made on the half `made_on` (or all, or NULL: no questions) was made on a question of this half, which
-- its source asked as `seen_questions` says (NULL: what it asked is not known, so the half decides).
create or replace macro is_made_on(made_on, half, asked_as) as
  coalesce(asked_as, 'this id') <> 'no' and coalesce(made_on in ('all', half) or (made_on is not null and asked_as = 'another id'), false);
