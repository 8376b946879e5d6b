-- origin_of(kind, extractor): published (files of results), brought (completions that others sampled) or extracted, from the run that holds the rows.
create or replace macro origin_of(kind, extractor) as case when kind = 'ingest' then 'published' when extractor = 'brought' then 'brought' else 'extracted' end;
