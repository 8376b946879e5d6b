-- Everything known of one persona at one layer, from all studies: write your checkpoint, persona and layer in place of those found here.
select topic, measure, head, other, place, value, low, high, unit, n, n_of, n_clusters, p, verdict, method, run_id
from slice
where (checkpoint, persona) = (select (checkpoint, persona) from slice_places where persona is not null order by len(topics) desc, checkpoint, persona limit 1)
  and (layer = 1 or layer is null)
order by topic, measure, head, other, place
