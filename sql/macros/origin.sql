-- origin_of(kind): extracted or published, from the kind of the run that holds the rows.
create or replace macro origin_of(kind) as case kind when 'ingest' then 'published' else 'extracted' end;
