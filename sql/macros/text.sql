-- blanks(): the white space that trim is to remove; DuckDB's own trim knows the space alone.
create or replace macro blanks() as ' ' || chr(9) || chr(10) || chr(13);
