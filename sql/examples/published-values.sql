-- Every published statistic that counts, with its file: how many values, and their range.
select subject, statistic, region, count(*) as n, min(value) as lowest, max(value) as highest, any_value(source_file order by source_file) as source_file
from published_values
group by subject, statistic, region
order by subject, statistic, region
