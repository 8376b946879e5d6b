"""What the studies of the lake say, what is missing from it, and how its runs were made."""

import polars as pl
import streamlit as st

from personascope.app_pages.overview.coverage import show_coverage
from personascope.app_pages.overview.runs import show_runs
from personascope.app_pages.overview.studies import show_empty_pages, show_studies
from personascope.app_pages.shared import charts
from personascope.app_pages.shared.bar import Place, bar
from personascope.app_pages.shared.lake import Source, source
from personascope.warehouse.drawing.tables import with_values
from personascope.warehouse.store.schema import tables

TITLE, ICON, ORDER = "Overview", ":material/dashboard:", 10
METRIC = 165  # pixels
MOST_DIGITS = 7  # characters of a number that stands out


def main() -> None:
    """Draws the page."""
    st.title("Overview")
    lake = source()
    checkpoints, personas = (
        sorted({name for table in of for (name,) in lake.select(f"select distinct {column} from {table} where {column} is not null").rows()})
        for column, of in (("checkpoint", ("checkpoints", "coverage")), ("persona", ("coverage",)))
    )
    place = bar(checkpoints=checkpoints, personas=personas)
    show_size(lake)
    show_studies(lake)
    show_coverage(lake, place)
    show_runs(lake, place)
    show_checkpoints(lake, place)
    show_empty_pages(lake)
    show_tables(lake)


def show_size(lake: Source) -> None:
    """The lake in five numbers."""
    sizes = lake.select(
        "select n_runs as runs, n_checkpoints as checkpoints, n_personas as personas, n_completions as completions, n_rows as rows from lake_size"
    ).row(0, named=True)
    row = st.container(horizontal=True)
    for name, value in sizes.items():
        number = f"{value or 0:,}"
        if len(number) > MOST_DIGITS:
            row.metric(name.capitalize(), f"{value / 1e6:.4g} M", border=True, width=METRIC, help=number)
        else:
            row.metric(name.capitalize(), number, border=True, width=METRIC)


def show_checkpoints(lake: Source, place: Place) -> None:
    """Every set of weights the runs read, once."""
    rows = lake.select(
        """select distinct checkpoint, id, revision, quantisation, family, variant, parent, source_persona, lr, epochs, seed, n_layers, n_heads
        from checkpoints where coalesce(checkpoint = $checkpoint, true) order by checkpoint, id, revision""",
        checkpoint=place.checkpoint,
    )
    if rows.is_empty():
        return
    st.subheader("Checkpoints", divider="gray")
    config: charts.Columns = {
        "source_persona": "trained on persona",
        "lr": st.column_config.NumberColumn("lr", format="%.1e"),
        "epochs": st.column_config.NumberColumn("epochs", format="%.3g", width=70),
        "n_layers": st.column_config.NumberColumn("layers", width=70),
        "n_heads": st.column_config.NumberColumn("heads", width=70),
        "seed": st.column_config.NumberColumn("seed", format="%d", width=70),
        "id": st.column_config.TextColumn("id", width=220),
        "revision": st.column_config.TextColumn("revision", width=90),
        "quantisation": st.column_config.TextColumn("quantisation", width=110),
    }
    st.dataframe(with_values(rows), hide_index=True, placeholder="", column_config=config)


def show_tables(lake: Source) -> None:
    """How many rows each table holds, counted once they are unfolded: that reads a column of every file of the lake."""
    folded = st.expander("Tables of the lake", icon=":material/table:", on_change="rerun")
    if folded.open:
        with folded:
            _show_tables(lake)


def _show_tables(lake: Source) -> None:
    counted = " union all ".join(f"select '{name}' as name, count(*) as n_rows, count(distinct run_id) as n_runs from {name}" for name in tables())
    meanings = pl.DataFrame({"name": list(tables()), "meaning": [each.meaning for each in tables().values()]})
    rows = lake.select(f"from ({counted}) where n_rows > 0 order by n_rows desc").join(meanings, on="name", how="left", maintain_order="left")
    config: charts.Columns = {
        "name": st.column_config.TextColumn("table", width=150),
        "n_rows": st.column_config.NumberColumn("rows", format="localized", width=90),
        "n_runs": st.column_config.NumberColumn("runs", width=60),
        "meaning": st.column_config.TextColumn("what a row is", width=800),
    }
    st.dataframe(rows, hide_index=True, placeholder="", column_config=config, height=charts.table_height(rows, most=100))
    st.caption("The same tables and the views over them answer SQL: `personascope views` lists them, `personascope sql 'from coverage'` asks one.")
