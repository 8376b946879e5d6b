-- Places of numbers among those of their family; a family is any expression whose equal values go together, a struct for several columns.
--
-- average_rank(number, family)   place from 1, smallest first; equal numbers share the mean of their places (rankdata of scipy), so that the Pearson
--                                correlation of two ranks is Spearman's. NULL has no place and takes none from the others.

create or replace macro average_rank(number, family) as
  case
    when number is not null then
      rank() over (partition by family order by number nulls last) + (count(*) over (partition by family, number) - 1) / 2
  end;
