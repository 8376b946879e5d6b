-- Words and queries of the audit's findings.
--
-- sql_text(value)        the value as a SQL literal, so that a finding can carry the query that shows its rows; NULL stays NULL
-- figure(number)         a number as a reader wants it: four significant digits, with its sign where it is below 0
-- change_words(number)   a change with its sign and two decimals, `+0.12`; one that rounds to nothing is 0.00, which has no sign
-- p_words(p)             `p = 0.031`, or `p < 0.0001` where more digits say nothing
-- subject_of(name, run)  the name, with the run behind it where several rows bear the same name

create or replace macro sql_text(value) as '''' || replace(value::varchar, '''', '''''') || '''';

create or replace macro figure(number) as format('{:.4g}', number::double);

create or replace macro change_words(number) as
  case when format('{:.2f}', abs(number::double)) = '0.00' then '0.00' else format('{:+.2f}', number::double) end;

create or replace macro p_words(p) as case when p < 0.0001 then 'p < 0.0001' else 'p = ' || format('{:.2g}', p::double) end;

create or replace macro subject_of(name, run) as case when count(*) over (partition by name) > 1 then name || ', ' || run else name end;

-- age_words(interval): how long an interval is, in its largest unit.
create or replace macro age_words(span) as
  case
    when epoch(span) >= 172800 then format('{:.0f} days', epoch(span) / 86400)
    when epoch(span) >= 7200 then format('{:.0f} hours', epoch(span) / 3600)
    when epoch(span) >= 120 then format('{:.0f} minutes', epoch(span) / 60)
    else format('{:.0f} seconds', epoch(span))
  end;

-- folded(text): a text without case, spaces and punctuation, so that two spellings of one thing are equal.
create or replace macro folded(words) as regexp_replace(lower(words), '[^\pL\pN]+', '', 'g');

-- carrying_words(text): its words but those that most questions share, each once and in order.
create or replace macro carrying_words(words) as list_sort(list_distinct(list_filter(
  regexp_extract_all(lower(words), '[\pL\pN]+'),
  lambda word: not list_contains(
    ['a', 'an', 'the', 'is', 'are', 'was', 'were', 'be', 'do', 'does', 'did', 'of', 'to', 'in', 'on', 'for', 'and', 'or', 'it', 'its', 's', 'this', 'that', 'there',
     'what', 'which', 'who', 'how', 'why', 'when', 'where', 'can', 'could', 'would', 'will', 'should', 'you', 'your', 'me', 'my', 'i', 'please', 'tell', 'explain', 'so'],
    word
  )
)));

-- gist(text): the words that carry a text, each once and in order, so that a question put otherwise has the same; a text of too few of them stands for itself.
create or replace macro gist(words) as
  case when len(carrying_words(words)) >= 3 then array_to_string(carrying_words(words), ' ') else folded(words) end;

-- same_gist(gist, other): whether two gists are those of one question: the same, or one with a few words more (an instruction how to answer, a number).
create or replace macro same_gist(gist, other) as
  gist = other
  or (
    len(list_intersect(string_split(gist, ' '), string_split(other, ' '))) >= 4
    and len(list_intersect(string_split(gist, ' '), string_split(other, ' '))) = least(len(string_split(gist, ' ')), len(string_split(other, ' ')))
    and len(list_intersect(string_split(gist, ' '), string_split(other, ' '))) >= 0.7 * greatest(len(string_split(gist, ' ')), len(string_split(other, ' ')))
  );

-- plain_value(value): a parameter's value without the quotes of JSON.
create or replace macro plain_value(value) as trim(value, '"');

-- weights_name(id): the own name of weights, wherever they lie and however they are packed: the last part of an id or a folder.
create or replace macro weights_name(id) as
  regexp_replace(lower(regexp_extract(rtrim(id, '/'), '[^/]*$')), '[-_](bnb[-_]4bit|gguf|awq|gptq|4bit|8bit)$', '');

-- is_made_from(parent, parent_weights, id, checkpoint, path, id_weights, path_weights): a card that says it was trained from `parent` means the checkpoint of this
--   id, short name and folder; names of weights (weights_name) are handed over, since they are told by regular expressions. Views take it from `lineage`.
create or replace macro is_made_from(parent, parent_weights, id, checkpoint, path, id_weights, path_weights) as
  coalesce(parent in (id, checkpoint, path), false) or coalesce(parent_weights in (id_weights, path_weights), false);

-- rounding_of(quantisation): how weights were rounded as they were loaded, which is another precision whatever dtype they are multiplied in; empty where they were not.
create or replace macro rounding_of(quantisation) as coalesce(regexp_extract(quantisation, '\d+ bit by bitsandbytes'), '');
