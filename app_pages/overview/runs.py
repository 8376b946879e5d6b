"""The runs of the lake, section of the overview: filtered, one in full, and two side by side."""

import json
from typing import Any

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import Place
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.run_differences import show_run_differences
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.tables import with_values
from personascope.warehouse.drawing.tracking_links import run_url, ui_command
from personascope.warehouse.drawing.words import count
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import notes
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import MlflowRecord

LAST_RUNS = 50
EVERY, NOBODY = "all", "nobody"


def show_runs(lake: Source, place: Place) -> None:
    """The last runs that pass the filter, one of them in full with its notes and the way to its page in MLflow, and another beside it."""
    st.subheader("Runs", divider="gray")
    left, middle, right = st.columns([1, 1, 2])
    kinds = lake.select("select distinct kind from runs order by 1")["kind"].to_list()
    kind = address.select("Kind", [EVERY, *kinds], "kind", where=left)
    tags = lake.select("select distinct unnest(tags) as tag from run_notes order by 1")["tag"].to_list()
    labels = {"": EVERY} | {tag: tag for tag in tags}
    tag = address.select("Tag", list(labels), "tag", labels=labels, help="Tags are written below, or by `personascope runs tag`.", where=middle)
    words = right.text_input("Runs that hold", key="runs", placeholder="words of id, study, command, tags or note …", bind="query-params") or ""
    where = """coalesce(checkpoint = $checkpoint, true) and $kind in ('all', kind) and ($tag = '' or coalesce(list_contains(tags, $tag), false))
      and contains(lower(concat_ws(' ', run_id, kind, extractor, subject, checkpoint, study, command, array_to_string(tags, ' '), note)), lower($words))"""
    values = {"checkpoint": place.checkpoint, "kind": kind, "words": words, "tag": tag}
    rows = lake.select(
        f"""select finished, run_id, kind, extractor, coalesce(subject, checkpoint) as subject, study, array_to_string(tags, ', ') as tags, note, n_rows,
          seconds, device, mlflow_run_id, mlflow_experiment, mlflow_uri
        from runs left join run_notes using (run_id) where {where} order by finished desc, run_id limit {LAST_RUNS}""",
        **values,
    )
    if rows.is_empty():
        st.info("No run passes these filters.", icon=":material/filter_alt_off:")
        return
    links = [run_url(record) if (record := _record(row)) else None for row in rows.iter_rows(named=True)]
    shown = rows.drop("mlflow_run_id", "mlflow_experiment", "mlflow_uri").with_columns(pl.Series("mlflow", links, dtype=pl.String))
    config: charts.Columns = {
        "finished": st.column_config.DatetimeColumn("finished (UTC)", format="YYYY-MM-DD HH:mm"),
        "run_id": "run",
        "note": st.column_config.TextColumn("note", width="medium"),
        "n_rows": st.column_config.NumberColumn("rows", format="localized"),
        "seconds": st.column_config.NumberColumn("seconds", format="%.1f"),
        "mlflow": st.column_config.LinkColumn("MLflow", display_text="open"),
    }
    st.dataframe(with_values(shown), hide_index=True, placeholder="", column_config=config, height=charts.table_height(rows))
    found = lake.select(
        f"""select run_id, run_id || ' · ' || coalesce(subject, checkpoint, kind) as label
        from runs left join run_notes using (run_id) where {where} order by finished desc, run_id""",
        **values,
    )
    st.caption(f"{count(found.height, 'run')}{f', the last {LAST_RUNS} in the table' if found.height > LAST_RUNS else ''}.")
    labels = dict(found.rows())
    left, right = st.columns(2)
    run_id = address.select("Run in full", list(labels), "manifest", labels=labels, where=left)
    others = {NOBODY: "no other"} | {other: label for other, label in labels.items() if other != run_id}
    beside = address.select("Beside it", list(others), "beside_run", labels=others, help="The parameters in which the two differ.", where=right)
    if beside != NOBODY:
        show_run_differences(lake, run_id, beside)
    _show_run(lake, run_id)


def _record(row: dict[str, Any]) -> MlflowRecord | None:
    run_id, uri = row["mlflow_run_id"], row["mlflow_uri"]
    return MlflowRecord(run_id=run_id, experiment=row["mlflow_experiment"] or "", tracking_uri=uri, origin="") if run_id and uri else None


def _show_run(lake: Source, run_id: str) -> None:
    run = lake.select("from runs where run_id = $run_id", run_id=run_id).row(0, named=True)
    record = _record(run)
    parameters = lake.select("select name, value, origin as came_from from parameters where run_id = $run_id order by origin = 'default', name", run_id=run_id)
    _show_notes(lake, run_id)
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


def _show_notes(lake: Source, run_id: str) -> None:
    """What people wrote about a run, and the place to write it; kept in the lake beside the run."""
    there = notes.of_run(Lake(lake.root), run_id)
    if there.tags:
        st.markdown(" ".join(f":blue-badge[{plain(tag)}]" for tag in there.tags))
    if there.note:
        st.text(there.note)
    words = "Write tags and a note" if there == notes.Notes() else "Change tags and note"
    with st.popover(words, icon=":material/edit_note:"), st.form(f"notes of {run_id}", border=False):
        typed = st.text_input("Tags, commas between them", value=", ".join(there.tags), key=f"tags of {run_id}")
        note = st.text_area("Note", value=there.note, key=f"note of {run_id}", max_chars=notes.LONGEST_NOTE)
        if st.form_submit_button("Save", icon=":material/save:"):
            tags = [tag.strip() for tag in typed.split(",") if tag.strip()]
            try:
                notes.write(Lake(lake.root), run_id, add=tags, remove=set(there.tags) - set(tags), note=note)
            except PersonascopeError as error:
                st.error(plain(str(error)))
            else:
                st.rerun()
