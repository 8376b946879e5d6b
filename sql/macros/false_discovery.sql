-- p values adjusted for the tests of their family, so that the false discovery rate is controlled (Benjamini and Hochberg 1995): of the tests whose adjusted p
-- is at most q, a share of q is expected to be false. A window function holds no other, hence two steps, one query after the other:
--
-- fdr_bound(p, family)            p times the tests of its family over those whose p is no larger
-- fdr_adjusted(p, bound, family)  adjusted p: the smallest bound among the tests whose p is no smaller, at most 1
--
-- A family is any expression whose equal values go together, a struct for several columns. A NULL has no adjusted p and is no test of its family.

create or replace macro fdr_bound(p, family) as
  p * count(p) over (partition by family) / count(p) over (partition by family order by p nulls last);

create or replace macro fdr_adjusted(p, bound, family) as
  case
    when p is not null then
      least(1.0, min(bound) over (partition by family order by p nulls last range between current row and unbounded following))
  end;
