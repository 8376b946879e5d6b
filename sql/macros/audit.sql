-- Words and queries of the audit's findings.
--
-- sql_text(value)        the value as a SQL literal, so that a finding can carry the query that shows its rows; NULL stays NULL
-- figure(number)         a number as a reader wants it: four significant digits, with its sign where it is below 0
-- p_words(p)             `p = 0.031`, or `p < 0.0001` where more digits say nothing
-- subject_of(name, run)  the name, with the run behind it where several rows bear the same name

create or replace macro sql_text(value) as '''' || replace(value::varchar, '''', '''''') || '''';

create or replace macro figure(number) as format('{:.4g}', number::double);

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
