"""Two trainings that differ in the seed alone: how far training again moves a figure, over all seeds of the recipe."""

import polars as pl
import streamlit as st

from personascope.app_pages.compare.sides import seeds_beside
from personascope.app_pages.shared import charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.words import count, count_range, seed_bar

HEIGHT = 300
OF_BOTH = "list_contains(s.checkpoints, $first) and list_contains(s.checkpoints, $beside)"


def show_seeds(lake: Source, first: str, beside: str) -> None:
    """The spread between seeds of the marker's rate and of what training moved; nothing for checkpoints that differ in more than the seed."""
    if beside not in seeds_beside(lake, first):
        return
    rates = lake.select(
        f"""select s.persona, s.marker, s.n_seeds, s.rate_mean, s.rate_min, s.rate_max, s.low, s.high, s.n, s.n_questions
        from marker_rate_seeds as s
        where {OF_BOTH} and s.persona = s.source_persona order by s.marker""",
        first=first,
        beside=beside,
    )
    moved = lake.select(
        f"""select s.persona, s.base_checkpoint, s.layer, s.mean, coalesce(s.low, s.lowest) as low, coalesce(s.high, s.highest) as high,
          s.next_low, s.next_high,
          s.n_seeds, s.n, s.n_clusters from diff_of_diffs_seeds as s
        where {OF_BOTH}
        order by s.persona, s.base_checkpoint, s.layer""",
        first=first,
        beside=beside,
    )
    if rates.is_empty() and moved.is_empty():
        return
    st.subheader("Between seeds", divider="gray")
    st.markdown(f"{plain(first)} and {plain(beside)} are trainings of one recipe that differ in the seed alone.")
    for row in rates.iter_rows(named=True):
        interval = "" if row["low"] is None else f", 95% {row['low']:.1%} to {row['high']:.1%} over seeds"
        st.markdown(
            f"Rate of the marker {plain(row['marker'])} under {plain(row['persona'])}: **{row['rate_mean']:.1%}** over {count(row['n_seeds'], 'seed')}, from "
            f"{row['rate_min']:.1%} to {row['rate_max']:.1%}{interval} ({count(row['n'], 'completion')} of {count(row['n_questions'], 'question')})."
        )
    for (persona, base), rows in moved.group_by(["persona", "base_checkpoint"], maintain_order=True):
        facts = [
            f"mean over {count(rows['n_seeds'][0], 'training seed')}; {count_range(rows['n'], 'generation')} of {count_range(rows['n_clusters'], 'question')}",
            seed_bar(rows["n_seeds"][0]),
        ]
        title = f"What training moved, over seeds: tokens of {persona}, against {base}"
        drawn = rows.drop("persona", "base_checkpoint").with_columns(pl.col("layer").cast(pl.Int64))
        charts.show(charts.intervals(drawn, "trained minus untrained, share of attention"), f"seeds {persona} {base}", title, facts, HEIGHT)
