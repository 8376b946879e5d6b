"""The card of a dataset of runs: which tables it holds, for whoever loads them without this program, and how the runs were made."""

from collections.abc import Sequence

import yaml

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing.report.card import card
from personascope.warehouse.drawing.report.document import Code, Document, Paragraph, Section, listing
from personascope.warehouse.drawing.report.markdown import markdown
from personascope.warehouse.store.manifest import Manifest
from personascope.warehouse.store.schema import tables


def dataset_card(lake: Source, runs: Sequence[Manifest], address: str) -> str:
    """The text of README.md for at least one run: a head that names the files of each table, and what the manifests say; `lake` knows the checkpoints."""
    rows = {name: sum(run.tables[name].rows for run in runs if name in run.tables) for name in tables() if any(name in run.tables for run in runs)}
    head = {
        "pretty_name": "Runs of personascope",
        "tags": ["personascope", "interpretability"],
        "configs": [{"config_name": name, "data_files": f"runs/*/{name}-*.parquet"} for name in rows],
    }
    about = f"{len(runs)} runs of [personascope], an analysis warehouse for people who study how language models represent personas and roles."
    found = [(name, tables()[name].meaning, f"{count:,}") for name, count in rows.items()]
    sections = (
        Section("Use", (Code(f"personascope lake pull {address} --lake mirror\npersonascope app --lake mirror"),)),
        Section("Tables", (Paragraph("Each is a config of this dataset; every row names its run."), listing(("table", "what a row is", "rows"), found))),
        Section("How the runs were made", (Paragraph("As their manifests (runs/RUN/run.json) say."),)),
        *card(lake, runs),
    )
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n{markdown(Document('Runs of personascope', about, sections))}"
