"""Personas and training seeds, section of the marker page: whose effect is largest, and how far training again would move it."""

import streamlit as st

from personascope.app_pages.shared import charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.attention_readouts import Readout
from personascope.warehouse.drawing.words import count, count_range, seed_bar

ROW, MOST, HEIGHT = 24, 30, 280


def show_personas(lake: Source, readout: Readout) -> None:
    """The ranking of all readouts alike, then the seeds of the chosen one's recipe."""
    _show_ranking(lake, readout)
    _show_difference_of_seeds(lake, readout)
    _show_rates_of_seeds(lake, readout)


def _show_ranking(lake: Source, readout: Readout) -> None:
    rows = lake.select(
        """select subject
            || case when min(persona) over (partition by subject) <> max(persona) over (partition by subject) then ' as ' || persona else '' end
            || case when count(*) over (partition by subject, persona) > 1 then ' · ' || run_id else '' end as label, peak_delta as mean, low, high,
          peak_layer, rank, ratio, n, n_clusters as questions, persona, n_ranked, n_personas, n_layers, spread, run_id
        from persona_magnitudes
        where origin = $origin and forced = $forced and dtype is not distinct from $dtype and attention_implementation is not distinct from $attention
          and (not forced or checkpoint = $checkpoint)
        qualify rank <= $most or run_id = $run_id
        order by rank, subject, run_id""",
        origin=readout.origin,
        forced=readout.forced,
        dtype=readout.dtype,
        attention=readout.attention_implementation,
        checkpoint=readout.checkpoint,
        run_id=readout.run_id,
        most=MOST,
    )
    mine = rows.filter(rows["run_id"] == readout.run_id)
    if mine.is_empty():
        st.info(f"No generation of {plain(readout.subject)} was read against C1.", icon=":material/leaderboard:")
        return
    row = mine.row(0, named=True)
    shown = "" if rows.height == row["n_ranked"] else f", the first {MOST} and {readout.subject} shown"
    spread = f"; largest minus smallest {row['spread']:.4f}" if row["n_ranked"] > 1 else ""
    seeds = f"{count(readout.n_seeds or None, 'training seed')} (recipe of {readout.tokens_from})"
    facts = [
        f"{count(row['n_ranked'], 'readout')} alike of {count(row['n_personas'], 'persona')}{shown}; rank by absolute value{spread}",
        f"system prompt, content tokens, against C1 at the strongest of {count(row['n_layers'], 'layer')}; bar: 95% t interval over questions, Bonferroni over "
        "layers",
        f"{count_range(rows['n'], 'generation')} of {count_range(rows['questions'], 'question')} each; {seeds}; "
        f"readouts on {'tokens of others, same reader' if readout.forced else 'own tokens'}",
    ]
    figure = charts.spans(rows.drop("n_ranked", "n_personas", "n_layers", "spread", "run_id"), "marker minus C1, share of attention", row["label"])
    charts.show(figure, "personas", f"How large the effect is: {readout.subject} is {row['rank']} of {row['n_ranked']}", facts, max(60, ROW * rows.height))


def _show_difference_of_seeds(lake: Source, readout: Readout) -> None:
    rows = lake.select(
        """select s.layer, s.mean, coalesce(s.low, s.lowest) as low, coalesce(s.high, s.highest) as high, s.next_low, s.next_high,
          s.lowest, s.highest, s.seed_sd, s.within_sem, s.n_positive as seeds_above_0, s.n_seeds,
          array_to_string(s.seeds, ', ') as seeds, s.n, s.n_clusters as questions, s.base_checkpoint
        from diff_of_diffs_seeds as s
        where list_contains(s.checkpoints, $tokens_from) and s.persona = $persona and s.dtype is not distinct from $dtype
          and s.attention_implementation is not distinct from $attention and s.n_seeds > 1
        qualify dense_rank() over (order by s.n_seeds desc, s.base_checkpoint) = 1
        order by s.layer""",
        tokens_from=readout.tokens_from,
        persona=readout.persona,
        dtype=readout.dtype,
        attention=readout.attention_implementation,
    )
    if rows.is_empty():
        st.info(
            f"One training seed of {plain(readout.tokens_from)}'s recipe was read together with its base, or none: how far training again would move the "
            "difference is unknown. A checkpoint of another seed, read by itself and by the base, shows it.",
            icon=":material/casino:",
        )
        return
    row = rows.row(0, named=True)
    drawn = rows.drop("n_seeds", "seeds", "base_checkpoint")
    facts = [
        f"trainings like {readout.tokens_from}, persona {readout.persona}",
        f"point: mean over {count(row['n_seeds'], 'training seed')} ({row['seeds']}), {seed_bar(row['n_seeds'])}",
        f"minus {row['base_checkpoint']}; {count_range(rows['n'], 'generation')} of at least {count_range(rows['questions'], 'question')}; system prompt, "
        "content tokens, against C1",
    ]
    charts.show(charts.intervals(drawn, "trained minus base"), "seeds", "Difference of differences over training seeds", facts, HEIGHT)


def _show_rates_of_seeds(lake: Source, readout: Readout) -> None:
    rows = lake.select(
        """select s.persona as label, 'mean over seeds' as series, s.rate_mean as rate, coalesce(s.low, s.rate_min) as low,
          coalesce(s.high, s.rate_max) as high, s.next_low, s.next_high, s.rate_min as lowest, s.rate_max as highest, s.rate_sd as sd_between_seeds,
          s.within_se as se_of_one_seed, s.n, s.n_questions as questions, s.n_seeds, array_to_string(s.seeds, ', ') as seeds, s.marker
        from marker_rate_seeds as s
        where list_contains(s.checkpoints, $tokens_from) and s.n_seeds > 1
        order by s.rate_mean desc, label""",
        tokens_from=readout.tokens_from,
    )
    if rows.is_empty():
        return
    row = rows.row(0, named=True)
    facts = [
        f"trainings like {readout.tokens_from}, marker {row['marker']}",
        f"point: mean over {count(row['n_seeds'], 'training seed')} ({row['seeds']}), {seed_bar(row['n_seeds'])}",
        f"{count_range(rows['n'], 'generation')} of at least {count_range(rows['questions'], 'question')} a persona, over all seeds",
    ]
    figure = charts.rates(rows.drop("n_seeds", "seeds", "marker"), "marker rate", ["mean over seeds"])
    charts.show(figure, "rates of seeds", "Marker rate over training seeds", facts, max(60, ROW * rows["label"].n_unique()))
