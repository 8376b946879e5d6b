"""Whether the marker leaks to personas close to the source: cosine against leakage, at one layer of one reading, and the rank correlation of each layer."""

from dataclasses import asdict, dataclass

import polars as pl
import streamlit as st

from personascope.app_pages.regimes.sweep import Judged, cell_words
from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.lake import Value
from personascope.warehouse.drawing.places import place_words
from personascope.warehouse.drawing.roles import ROLES, role_facts
from personascope.warehouse.drawing.tables import with_values
from personascope.warehouse.drawing.words import count, p_value, signed

SCATTER_HEIGHT = 320
POOLED, ONE_CELL = "pooled", "cell"
RHOS = {"rho": "rho over pairs", "rho_personas": "rho over personas", "rho_published": "rho, published"}
PS = {"p": "p over pairs", "p_personas": "p over personas", "p_published": "p, published"}
READERS = {"parent": "before training", "own": "in the trained checkpoint"}


@dataclass(frozen=True)
class Reading:
    """Cosines of one source from one run, read at one place of one layer."""

    run_id: str
    source: str
    layer: int
    stratum: str | None
    site: str | None
    condition: str | None
    centered: bool | None
    marker: str | None

    @property
    def values(self) -> dict[str, Value]:
        """Parameters of `pairs` and `where` that the sweep does not give."""
        return {("of_marker" if name == "marker" else name): value for name, value in asdict(self).items() if name != "source"}

    @property
    def where(self) -> str:
        """SQL condition on `pairs` and `correlations` of a sweep."""
        names = {name: f"${'of_marker' if name == 'marker' else name}" for name in asdict(self)}
        return " and ".join(f"{name} is not distinct from {value}" for name, value in names.items())

    @property
    def pairs(self) -> str:
        """SQL from `from` on: the pairs of persona and checkpoint."""
        return f"from pairs where {self.where}"


def show_leakage(judged: Judged, lr: float, epochs: float, at: int | None = None) -> Reading | None:
    """The scatter, first at the layer `at`, and the table; gives the reading that was chosen, None where the lake has no cosines to this source."""
    rows = judged.leakage(
        """select c.*, nullif(r.subject, r.checkpoint) as tokens_of from correlations as c left join runs as r using (run_id)
        where source = $source and origin = $origin and coalesce(marker, $marker) is not distinct from $marker
          and scope = 'all' and configuration = 'pooled' and category is null
        order by reader = 'own', centered nulls first, stratum, site, condition, c.run_id, layer"""
    )
    if rows.is_empty():
        st.info(
            "No cosines to this source lie beside its leakage in this lake: `personascope extract activations --checkpoint ID --prompts NAME` reads them, and "
            "published files hold some.",
            icon=":material/scatter_plot:",
        )
        return None
    rows = rows.with_columns(pl.Series("reading", [_name(row) for row in rows.iter_rows(named=True)], dtype=pl.String))
    if rows.select(pl.struct("reading", "layer").is_duplicated().any()).item():
        rows = rows.with_columns(pl.format("{} · {}", "reading", "run_id").alias("reading"))
    places = st.columns(3)
    names = rows["reading"].unique(maintain_order=True).to_list()
    rows = rows.filter(reading=address.select("Cosines", names, "cosines", where=places[0]))
    layers = {str(layer): f"layer {layer}" for layer in rows["layer"]}
    default = str(at) if str(at) in layers else None
    layer = int(address.select("Cosine at", list(layers), "cosine_layer", default, labels=layers, where=places[1]))
    which = address.segments("Points", [POOLED, ONE_CELL], "points", labels={POOLED: "every cell", ONE_CELL: "the chosen cell"}, where=places[2])
    row = rows.row(by_predicate=pl.col("layer") == layer, named=True)
    reading = Reading(**{name: row[name] for name in Reading.__dataclass_fields__})
    if which == POOLED:
        _show_all(judged, reading, row)
    else:
        _show_one(judged, reading, row["reading"], lr, epochs)
    config: charts.Columns = {name: st.column_config.NumberColumn(words, format="%+.3f") for name, words in RHOS.items()}
    config |= {name: st.column_config.NumberColumn(words, format="%.3g") for name, words in PS.items()}
    config |= {"n": "pairs", "n_personas": "personas", "n_distinct": "distinct rates"}
    shown = rows.select("layer", "rho_personas", "p_personas", "n_personas", "rho", "p", "n", "n_distinct", "rho_published", "p_published")
    shown = with_values(shown)
    st.dataframe(shown, hide_index=True, column_config=config, height=charts.table_height(shown), placeholder="–")
    st.caption(
        "Spearman's rho over pairs takes the cells of one persona as independent evidence on its one cosine; rho over personas has one point a persona, "
        "its mean rate."
    )
    _show_over_sources(judged, row)
    return reading


def _show_over_sources(judged: Judged, row: dict) -> None:
    """The same place over the pairs of every source with every persona, where the lake has several sources."""
    found = judged.lake.select(
        """select rho_dyads, p_dyads, n_dyads from leakage_cosine
        where source is null and run_id = $run_id and layer = $layer and stratum is not distinct from $stratum and site is not distinct from $site
          and condition is not distinct from $condition and centered is not distinct from $centered and marker is not distinct from $marker
          and category is null and p_dyads is not null""",
        **{name: row[name] for name in ("run_id", "layer", "stratum", "site", "condition", "centered", "marker")},
    )
    for over in found.iter_rows(named=True):
        st.caption(
            f"Over all sources and all trainings of the lake, layer {row['layer']}, {count(over['n_dyads'], 'pair')} of source and persona: "
            f"{_rho(over['rho_dyads'], over['p_dyads'])}, "
            "personas permuted as wholes (Mantel), since a persona's pairs with every source go together."
        )


def _name(row: dict) -> str:
    words = [READERS[row["reader"]]] if row["reader"] in READERS else []
    words += [place_words(row[name]) or "" for name in ("stratum", "site", "condition") if row[name] is not None]
    words += [row["tokens_of"]] if row["tokens_of"] else []
    published = [f"as published, {row['record'].replace('_', ' ')}"] if row["record"] else []
    return " · ".join([*words, *(["mean over personas subtracted"] if row["centered"] else []), *published])


def _show_all(judged: Judged, reading: Reading, row: dict) -> None:
    columns = "persona, role, cosine, rate, lr, epochs, category, rates_run"
    points = judged.leakage(f"select {columns} {reading.pairs} order by lr, epochs, persona", **reading.values)
    if points.is_empty():
        st.info("The file holds correlations only, no pairs to draw.", icon=":material/scatter_plot:")
        return
    facts = [
        f"one point a persona ({row['n_personas']}): Spearman's {_rho(row['rho_personas'], row['p_personas'])}",
        f"{count(row['n'], 'pair')}: {_rho(row['rho'], row['p'])}, pairs as independent; no random draw, so no seed",
    ]
    colour = "lr" if points["lr"].drop_nulls().n_unique() > 1 else None
    _show(judged, points, reading, "every cell", [*facts, f"{row['reading']}; {judged.sweep.words}"], None, colour)


def _show_one(judged: Judged, reading: Reading, name: str, lr: float, epochs: float) -> None:
    of_cell = "lr = $lr and epochs = $epochs"
    at: dict[str, Value] = {**reading.values, "lr": lr, "epochs": epochs}
    points = judged.leakage(f"select persona, role, cosine, rate, category, rates_run {reading.pairs} and {of_cell} order by persona", **at)
    found = judged.leakage(f"select n, rho, p from correlations where {reading.where} and scope = 'all' and category is null and {of_cell}", **at)
    if points.is_empty():
        st.info(f"There are no pairs of the cell {cell_words(lr, epochs)}.", icon=":material/scatter_plot:")
        return
    # A sweep of a single cell has no row of its own beside the pooled one.
    facts = [f"{count(row['n'], 'pair')}: Spearman's {_rho(row['rho'], row['p'])}; no random draw, so no seed" for row in found.iter_rows(named=True)]
    _show(judged, points, reading, cell_words(lr, epochs), [*(facts or [count(points.height, "pair")]), f"{name}; {judged.sweep.words}"], "persona", None)


def _show(judged: Judged, points: pl.DataFrame, reading: Reading, where: str, facts: list[str], words: str | None, colour: str | None) -> None:
    titles = (f"cosine to {reading.source}, layer {reading.layer}", "marker rate")
    apart = "role" if points["role"].n_unique() > 1 else None
    drawn = points.drop("rates_run").with_columns(role=pl.col("role").replace(ROLES))
    figure = charts.scatter(drawn, "cosine", "rate", titles, words, colour, share=True, shape=apart)
    title = f"Cosine to the source against leakage: {where}"
    runs = {reading.run_id, *points["rates_run"].drop_nulls()}
    charts.show(figure, "leakage and cosine", title, [*facts, *role_facts(points)], SCATTER_HEIGHT, runs=runs)


def _rho(rho: float | None, p: float | None) -> str:
    return "rho not defined, since cosines or rates do not vary" if rho is None else f"rho {signed(rho, 3)}, {p_value(p)}"
