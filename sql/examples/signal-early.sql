-- Is there anything to see? Signal to noise by layer over the first examples.
-- chart: heat map x=layer y=reader colour=snr
select subject || ' ' || right(run_id, 6) as reader, origin, layer, n, snr, starts_window, n_passing_windows
from midrun_gate
order by reader, layer
