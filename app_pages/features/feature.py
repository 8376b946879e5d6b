"""One feature at one place: how strongly it fires under the two conditions, and on which prompts."""

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.charts import columns
from personascope.warehouse.drawing.places import place_or_unknown
from personascope.warehouse.drawing.words import count_range

MOST_PROMPTS, HEIGHT = 20, 240
PLACE = "run_id = $run and sae_id = $sae and layer = $layer and site = $site and stratum = $stratum"
SILENT = "silent"


def at(place: dict) -> dict:
    """Parameters of `PLACE`, the run apart: that of the features and that of their tests have one place."""
    return {name: place[column] for name, column in (("sae", "sae_id"), ("layer", "layer"), ("site", "site"), ("stratum", "stratum"))}


def place_fact(place: dict) -> str:
    """Whose features of which layer and token a figure is of, as a fact under its title."""
    return f"{place['reader']}; layer {place['layer']}, {place_or_unknown(place['stratum'])}"


def show_feature(lake: Source, place: dict, features: list[str]) -> None:
    """One of the features, which a row of the table above opens: its activations and its prompts."""
    feature = address.select("Feature", features, "feature", help="A click on a row of the table chooses one too.")
    show_histogram(lake, place, feature)
    show_prompts(lake, place, feature)


def show_histogram(lake: Source, place: dict, feature: str) -> None:
    """Readings by size of the activation, the two conditions side by side."""
    rows = lake.select(
        f"""select step, low, high, condition as series, share, n, n_readings from feature_histogram
        where {PLACE} and feature = $feature and condition in ($a, $b) order by step, condition = $b""",
        run=place["features_run"],
        feature=int(feature),
        a=place["condition_a"],
        b=place["condition_b"],
        **at(place),
    )
    if rows.filter(pl.col("step") > 0).is_empty():
        st.caption(f"Feature {feature} fires under neither of the two conditions.")
        return
    width: float = max(high / step for high, step in rows.select("high", "step").rows() if step)
    steps = {0: SILENT} | {step: f"{step * width:.3g}" for step in range(1, max(rows["step"]) + 1)}
    rows = rows.with_columns(activation=pl.col("step").replace_strict(steps, return_dtype=pl.String))
    facts = [
        place_fact(place),
        f"{count_range(rows['n_readings'], 'reading')} a condition; steps of {width:.3g}, each up to its label, to the largest of any condition",
        "what was read, not a sample drawn from it: no interval, no seed",
    ]
    figure = columns(
        rows, "activation", "share", ("activation, up to", "share of readings"), [place["condition_a"], place["condition_b"]], list(steps.values())
    )
    charts.show(figure, "activations", f"Activations of feature {feature}", facts, HEIGHT)


def show_prompts(lake: Source, place: dict, feature: str) -> None:
    """The prompts of the pair's conditions that activate a feature most."""
    rows = lake.select(
        f"""select place, value, condition, question, question_id, n_firing from feature_prompts
        where {PLACE} and feature = $feature and condition in ($a, $b) order by place limit {MOST_PROMPTS}""",
        run=place["features_run"],
        feature=int(feature),
        a=place["condition_a"],
        b=place["condition_b"],
        **at(place),
    )
    config: charts.Columns = {
        "place": st.column_config.NumberColumn("#", help="Among the prompts of all conditions, the strongest first."),
        "value": st.column_config.NumberColumn("activation", format="%.4g"),
        "question_id": "question's name",
    }
    st.dataframe(rows.drop("n_firing"), hide_index=True, column_config=config, height=charts.table_height(rows), placeholder="–")
    firing = rows["n_firing"][0] if rows.height else 0
    whose = f"{plain(place['condition_a'])} and {plain(place['condition_b'])}"
    st.caption(f"Prompts of {whose} that activate feature {feature} most, of {firing} that do in any condition.")
