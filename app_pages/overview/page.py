"""What is in the lake, what is missing from it, and how its last runs were made."""

import json
from typing import Any

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import bar
from personascope.app_pages.shared.lake import Source, source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.tables import with_values
from personascope.warehouse.drawing.tracking_links import run_url, ui_command
from personascope.warehouse.drawing.words import count
from personascope.warehouse.store.manifest import MlflowRecord
from personascope.warehouse.store.schema import tables

TITLE, ICON, ORDER = "Overview", ":material/dashboard:", 10
LAST_RUNS = 50
STATES = {"present": (charts.BLUE, "✓"), "missing": (charts.ORANGE, "✗"), "extra": (charts.GREY, "✓")}
CELL = 30


def main() -> None:
    """Draws the page."""
    st.title("Overview")
    bar()
    lake = source()
    show_size(lake)
    show_coverage(lake)
    show_checkpoints(lake)
    show_runs(lake)
    show_tables(lake)


def show_size(lake: Source) -> None:
    """The lake in five numbers."""
    sizes = lake.select(
        """select
          (select count(*) from runs) as runs,
          (select count(distinct checkpoint) from checkpoints) as checkpoints,
          (select count(distinct persona) from completions) as personas,
          (select count(*) from completions) as completions,
          (select sum(n_rows)::bigint from runs) as rows"""
    ).row(0, named=True)
    for column, (name, value) in zip(st.columns(len(sizes)), sizes.items(), strict=True):
        column.metric(name.capitalize(), f"{value or 0:,}", border=True)


def show_coverage(lake: Source) -> None:
    """Checkpoint by persona and extractor, so that a gap shows by itself."""
    st.subheader("Coverage", divider="gray")
    rows = lake.select(
        """select
          checkpoint || case extractor
            when 'completions' then ' · completions'
            else case when checkpoint = tokens_from then ' · attention, own tokens' else ' · attention, tokens of ' || tokens_from end
          end || case origin when 'extracted' then '' else ' (' || origin || ')' end as what,
          persona,
          case when status = 'missing' then 'missing' when expected then 'present' else 'extra' end as state,
          n_runs as runs,
          n_seeds as training_seeds,
          checkpoint,
          extractor,
          tokens_from,
          origin
        from coverage
        order by coalesce(tokens_from, checkpoint), extractor desc, checkpoint <> tokens_from, checkpoint, origin, persona"""
    )
    if rows.is_empty():
        st.info("No completions and no attention have been read yet.", icon=":material/grid_off:")
        return
    order = rows["what"].unique(maintain_order=True).to_list()
    gaps = rows.filter(pl.col("state") == "missing")
    figure = charts.states(rows, "persona", "what", "persona of the system prompt", order, STATES, hidden=("checkpoint", "extractor", "tokens_from", "origin"))
    facts = f"{count(rows.height - gaps.height, 'cell')} filled, {count(gaps.height, 'gap')}; extra: there, though the design of the study does not ask for it"
    charts.show(figure, "coverage", "Who was sampled, and who read whose tokens", [facts], CELL * len(order))
    if not gaps.is_empty():
        st.warning(f"{count(gaps.height, 'gap')}:\n" + "\n".join(f"- {_gap(row)}" for row in gaps.iter_rows(named=True)), icon=":material/warning:")


def _gap(row: dict[str, str]) -> str:
    checkpoint, persona = plain(row["checkpoint"]), plain(row["persona"])
    if row["extractor"] == "completions":
        return f"**{checkpoint}** has no completions as {persona}"
    if row["checkpoint"] == row["tokens_from"]:
        return f"**{checkpoint}** has not read its own tokens as {persona}"
    tokens_from = plain(row["tokens_from"])
    return f"**{checkpoint}** has not read the tokens of {tokens_from} as {persona}: what training changed in {tokens_from} cannot be told without it"


def show_checkpoints(lake: Source) -> None:
    """Every set of weights the runs read, once."""
    rows = lake.select(
        """select distinct checkpoint, id, revision, quantisation, family, variant, parent, source_persona, lr, epochs, seed, n_layers, n_heads
        from checkpoints order by checkpoint, id, revision"""
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


def show_runs(lake: Source) -> None:
    """The last runs, and one of them in full with the way to its page in MLflow."""
    st.subheader("Last runs", divider="gray")
    rows = lake.select(
        f"""select finished, run_id, kind, extractor, coalesce(subject, checkpoint) as subject, study, n_rows, seconds, device, mlflow_run_id,
          mlflow_experiment, mlflow_uri
        from runs order by finished desc, run_id limit {LAST_RUNS}"""
    )
    links = [run_url(record) if (record := _record(row)) else None for row in rows.iter_rows(named=True)]
    shown = rows.drop("mlflow_run_id", "mlflow_experiment", "mlflow_uri").with_columns(pl.Series("mlflow", links, dtype=pl.String))
    config: charts.Columns = {
        "finished": st.column_config.DatetimeColumn("finished (UTC)", format="YYYY-MM-DD HH:mm"),
        "run_id": "run",
        "n_rows": st.column_config.NumberColumn("rows", format="localized"),
        "seconds": st.column_config.NumberColumn("seconds", format="%.1f"),
        "mlflow": st.column_config.LinkColumn("MLflow", display_text="open"),
    }
    st.dataframe(with_values(shown), hide_index=True, placeholder="", column_config=config, height=charts.table_height(rows))
    labels = dict(lake.select("select run_id, run_id || ' · ' || coalesce(subject, checkpoint, kind) from runs order by finished desc, run_id").rows())
    _show_run(lake, address.select("Run in full", list(labels), "manifest", labels=labels))


def _record(row: dict[str, Any]) -> MlflowRecord | None:
    run_id, uri = row["mlflow_run_id"], row["mlflow_uri"]
    return MlflowRecord(run_id=run_id, experiment=row["mlflow_experiment"] or "", tracking_uri=uri, origin="") if run_id and uri else None


def _show_run(lake: Source, run_id: str) -> None:
    run = lake.select("from runs where run_id = $run_id", run_id=run_id).row(0, named=True)
    record = _record(run)
    parameters = lake.select("select name, value, origin as came_from from parameters where run_id = $run_id order by origin = 'default', name", run_id=run_id)
    left, right = st.columns(2)
    with left:
        st.caption("How it was made")
        if run["command"]:
            st.code(run["command"], language="sh", wrap_lines=True)
        facts = {
            "commit": f"{run['git_commit'][:12]}{' with uncommitted changes' if run['git_dirty'] else ''}" if run["git_commit"] else None,
            "seed": run["seed"],
            "dtype": run["dtype"],
            "attention": run["attention_implementation"],
            "device": run["device"],
            "python": run["python"],
            "read": ", ".join(run["inputs"] or []),
            "packages": ", ".join(f"{name} {version}" for name, version in json.loads(run["packages"] or "{}").items()),
        }
        known = [(name, str(value)) for name, value in facts.items() if value not in (None, "")]
        st.dataframe(pl.DataFrame(known, schema=["fact", "value"], orient="row"), hide_index=True)
    with right:
        st.caption("Parameters, and where each came from")
        if parameters.is_empty():
            st.text("none")
        else:
            st.dataframe(parameters, hide_index=True, column_config={"came_from": "from"}, placeholder="–")
        if record is not None and (url := run_url(record)):
            st.link_button("Open in MLflow", url, icon=":material/open_in_new:")
        elif record is not None and (command := ui_command(record)):
            st.caption("See it in MLflow")
            st.code(command, language="sh", wrap_lines=True)


def show_tables(lake: Source) -> None:
    """How many rows each table holds."""
    st.subheader("Tables", divider="gray")
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
