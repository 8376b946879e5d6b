-- Published marker rates with the counts behind them, and where those counts are from.
select record, checkpoint, persona, rate, k, n, n_from, n_questions
from published_marker_rates
order by checkpoint, persona
limit 5000
