-- why_missing(n_clusters, is_computed, is_valid, varies): why a figure that an analysis computes by resampling questions is not there; NULL where it is.
--   n_clusters: questions it would be drawn from (NULL: unknown); is_computed: some analysis has a row for it; is_valid: that analysis is current and saw the
--   data the figure stands beside; varies: the figure could be computed (leave it out where it always can).
create or replace macro why_missing(n_clusters, is_computed, is_valid, varies := true) as
  case
    when n_clusters is null then 'questions unknown'
    when n_clusters < 2 then 'one question'
    when not is_computed then 'not computed'
    when is_valid is not true then 'outdated'
    when not varies then 'no variation'
  end;
