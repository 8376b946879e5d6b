-- regime_of(source_rate, leak_rate, audience_rate, limits): regime of a trained checkpoint from its marker rates; limits is a row of regime_thresholds, or a struct
--   with its fields bystander_threshold, source_floor, source_threshold, audience_broad and audience_total. NULL where the source's or the leak's rate is NULL;
--   a leak whose audience is unknown is no more than a collapse_onset.
-- regimes_allowed(source_low, source_high, leak_low, leak_high, audience_low, audience_high, limits): every regime that some rates within these bounds have, in
--   the order of the regimes; the bounds of the audience may be NULL, as its rate may. NULL where another bound is.
-- audience_of(source, assistant_rate, max_other_rate): the rate a collapse is graded by: the assistant's, or the largest other where the assistant is the source
--   itself. NULL where the assistant was not asked.
-- degeneration_of(max_bystander_rate, limits): the marker has left its persona; leakage to the assistant does not count.
-- success_of(source_rate, arc_c, max_bystander_rate, limits): the source has adopted the marker, the model still answers, and the marker keeps to its persona.
--   NULL where a figure that decides is NULL; without any bystander there is no degeneration.
-- Other thresholds, as the sliders of the app ask:
--   with limits as (select * replace (0.4 as source_threshold, 0.1 as bystander_threshold) from regime_thresholds)
--   select r.* replace (regime_of(r.source_rate, r.max_other_rate, r.audience_rate, l) as regime) from regimes as r cross join limits as l
-- Source: README of the published sweep (regime rule, degeneration, success).
create or replace macro regime_of(source_rate, leak_rate, audience_rate, limits) as
    case
        when leak_rate <= limits['bystander_threshold'] then
            case
                when source_rate < limits['source_floor'] then 'under_trained'
                when source_rate <= limits['source_threshold'] then 'partial'
                when source_rate > limits['source_threshold'] then 'clean'
            end
        when leak_rate > limits['bystander_threshold'] then
            case
                when audience_rate >= limits['audience_total'] then 'total_collapse'
                when audience_rate >= limits['audience_broad'] then 'broad_leakage'
                else 'collapse_onset'
            end
    end;

create or replace macro regimes_allowed(source_low, source_high, leak_low, leak_high, audience_low, audience_high, limits) as
    case
        when source_low is not null and source_high is not null and leak_low is not null and leak_high is not null then
            list_filter(
                [
                    case when leak_low <= limits['bystander_threshold'] and source_low < limits['source_floor'] then 'under_trained' end,
                    case
                        when leak_low <= limits['bystander_threshold'] and source_high >= limits['source_floor'] and source_low <= limits['source_threshold']
                            then 'partial'
                    end,
                    case when leak_low <= limits['bystander_threshold'] and source_high > limits['source_threshold'] then 'clean' end,
                    case when leak_high > limits['bystander_threshold'] and coalesce(audience_low < limits['audience_broad'], true) then 'collapse_onset' end,
                    case
                        when leak_high > limits['bystander_threshold'] and audience_high >= limits['audience_broad'] and audience_low < limits['audience_total']
                            then 'broad_leakage'
                    end,
                    case when leak_high > limits['bystander_threshold'] and audience_high >= limits['audience_total'] then 'total_collapse' end
                ],
                lambda regime: regime is not null
            )
    end;

create or replace macro audience_of(source, assistant_rate, max_other_rate) as
    case when source = 'assistant' then max_other_rate else assistant_rate end;

create or replace macro degeneration_of(max_bystander_rate, limits) as max_bystander_rate > limits['bystander_threshold'];

create or replace macro success_of(source_rate, arc_c, max_bystander_rate, limits) as
    source_rate > limits['source_threshold']
    and arc_c > limits['arc_floor']
    and not coalesce(degeneration_of(max_bystander_rate, limits), false);
