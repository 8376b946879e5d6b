-- same_word(a, b): are two tokens one word but for spaces and capitals: "cat", " cat" and "Cat"? Tokens of nothing but space are one word with none.
create or replace macro bare_word(token) as nullif(lower(regexp_replace(token, '\s', '', 'g')), '');
create or replace macro same_word(a, b) as coalesce(bare_word(a) = bare_word(b), false);
