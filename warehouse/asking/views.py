"""The views, read from the rooms of `sql/`: one file per view with its grain, source and column docs in the header.

A view whose header says `-- union of: FOLDER` has no query of its own: it is the union of the checks in that folder, each a view `FOLDER_<file>` of the columns
subject, finding and evidence whose header also says its severity and page. A new check is a new file there. `-- columns as: VIEW`: its columns
mean what they do there.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter

from personascope.warehouse.home import SQL_FOLDER
from personascope.warehouse.store.schema import header_fields, tables

_DOC_LINE = re.compile(r"^\s*(?P<name>\w+):\s*(?P<doc>.+)$")
_COMMENT_OR_TEXT = re.compile(r"--.*$|'(?:[^']|'')*'", re.MULTILINE)
_READ = re.compile(r"\b(?:from|join)\s+(\w+)", re.IGNORECASE)
_SAID_ONCE = ("finding", "evidence")
ROOMS = {  # folder of `sql/` and the question its views answer, in the order a reader meets them
    "attention": "Where does a model look as it writes the marker, and did training move that?",
    "sweep": "How far may training go before the marker leaves its persona, and to whom does it leak?",
    "role_focus": "Does attention sharpen when a prompt speaks of the model itself, and did instruction tuning do it?",
    "features": "Which features of a sparse autoencoder, and which directions, tell two conditions apart?",
    "directions": "Where do personas point, does training turn that, and how does an answer move along it?",
    "circuits": "In which layer does the answer emerge, and which heads put it there?",
    "slice": "What is known of one checkpoint, one persona and one layer, from all studies?",
    "published": "What did others publish, and do their files agree with each other?",
    "lake": "What is in the lake, what is missing or outdated, and which claims hold?",
}

SHARED = (  # small, and read by most questions of a page, by many checks, or over all readouts at once
    "marker_rates",
    "regimes",
    "subjects",
    "subject_pairs",
    "attention_gates",
    "gate_f",
    "persona_magnitudes",
    "leakage_cosine",
    "leakage_cosine_pairs",
    "persona_cosine_intervals",
    "diff_of_diffs_seeds",
    "circuit_runs",
    "emergence",
    "head_worths",
    "head_effects",
    "attention_effects",
    "end_of_answer_contrast",
    "diff_of_diffs",
    "diff_of_diffs_summary",
    "head_selection",
    "marker_lens",
    "patch_effects",
    "feature_test_summary",
    "rfc_layer",
    "rfc_diff",
    "patching_candidates",
    "coverage",
    "lake_size",
    "slice_places",
)

OF_GENERATIONS = (  # those that sum up a row for each generation and layer: of a few runs, sooner than of all of a lake
    "attention_effects",
    "attention_gates",
    "gate_f",
    "end_of_answer_contrast",
    "diff_of_diffs",
    "diff_of_diffs_summary",
)


@dataclass(frozen=True)
class View:
    """One view: what a row means (`grain`), where the definition comes from (`source`), a sentence per documented column, and its query.

    `severity` and `page` are those of a check, empty for any other view; `outcomes` are the columns of text that say how something came out, and not of what.
    `folder` of `sql/` is its room, or that of the checks.
    """

    name: str
    meaning: str
    grain: str
    source: str
    docs: dict[str, str]
    sql: str
    reads: frozenset[str]
    severity: str = ""
    page: str = ""
    outcomes: tuple[str, ...] = ()
    folder: str = ""

    def doc(self, column: str) -> str:
        """The column's own sentence, else that of a table column of the same name; empty where there is neither."""
        return self.docs.get(column) or table_words().get(column, "")


@cache
def table_words() -> dict[str, str]:
    """Sentence of every table column by name; a view's column of the same name means the same unless the view says otherwise."""
    words: dict[str, str] = {}
    for table in tables().values():
        for column, doc in table.docs.items():
            words.setdefault(column, doc)
    return words


@cache
def views() -> dict[str, View]:
    """Every view by name, each after the views it reads; raises ValueError when two views read each other."""
    files = {name: SQL_FOLDER / room / f"{name}.sql" for name, room in rooms().items()}
    texts = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    headers = {name: header_fields(text) for name, text in texts.items()}
    inherited: dict[str, dict[str, str]] = {}
    for union, folder in [(name, fields["union of"]) for name, fields in headers.items() if "union of" in fields]:
        checks = {f"{folder}_{path.stem}": path for path in sorted((SQL_FOLDER / folder).glob("*.sql"))}
        texts |= {name: path.read_text(encoding="utf-8") for name, path in checks.items()}
        headers |= {name: header_fields(texts[name]) for name in checks}
        said = _column_docs(headers[union])
        inherited |= {name: {column: said[column] for column in _SAID_ONCE} for name in checks}
        texts[union] += "\nunion all by name\n".join(_branch(path.stem, name, headers[name]) for name, path in checks.items())
        files |= checks
    inherited |= {name: _column_docs(headers[fields["columns as"]]) for name, fields in headers.items() if "columns as" in fields}
    found = {}
    for name, text in texts.items():
        fields = headers[name]
        code = _COMMENT_OR_TEXT.sub("", text)
        found[name] = View(
            name=name,
            meaning=fields.get(files[name].stem, ""),
            grain=fields.get("grain", ""),
            source=fields.get("source", ""),
            docs=inherited.get(name, {}) | _column_docs(fields),
            sql=text,
            reads=frozenset(({*texts, *tables()} - {name}) & {other.lower() for other in _READ.findall(code)}),
            severity=fields.get("severity", ""),
            page=fields.get("page", ""),
            outcomes=tuple(part.strip() for part in fields.get("outcomes", "").split(",") if part.strip()),
            folder=files[name].parent.name,
        )
    sorter = TopologicalSorter({name: view.reads & texts.keys() for name, view in found.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        raise ValueError(f"views in {SQL_FOLDER} read each other: {' -> '.join(error.args[1])}") from error
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order += ready
        sorter.done(*ready)
    return {name: found[name] for name in order}


@cache
def lasting() -> frozenset[str]:
    """What a connection of many questions keeps: the shared views, and the checks of the audit, which look at all of a lake for few rows."""
    return frozenset({*SHARED, *(name for name, view in views().items() if view.severity)})


def _column_docs(fields: dict[str, str]) -> dict[str, str]:
    return {match["name"]: match["doc"] for line in fields.get("columns", "").splitlines() if (match := _DOC_LINE.match(line))}


def _branch(check: str, view: str, fields: dict[str, str]) -> str:
    """The findings of one check as rows of the union."""
    severity, page = fields.get("severity", ""), fields.get("page", "")
    return f"""select '{check}' as "check", '{severity}' as severity, '{page}' as page, subject, finding, evidence from {view}"""


def closure(names: Iterable[str], known: Collection[str] = ()) -> set[str]:
    """The views among `names` and every view they read, directly or not; nothing is read behind those whose answers are `known`."""
    found: set[str] = set()
    waiting = [name for name in names if name in views()]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += views()[name].reads & views().keys() if name not in known else ()
    return found


def tables_behind(names: Iterable[str], kept: Collection[str] = ()) -> set[str]:
    """The tables among `names` and those that views among them read, directly or not; views in `kept` are answers, behind which nothing is read."""
    found: set[str] = set()
    seen, waiting = set(kept), list(names)
    while waiting:
        name = waiting.pop()
        if name in tables():
            found.add(name)
        elif name in views() and name not in seen:
            seen.add(name)
            waiting += views()[name].reads
    return found


@cache
def rooms() -> dict[str, str]:
    """The room of every view but the audit's checks, in the order of ROOMS and of names."""
    return {path.stem: room for room in ROOMS for path in sorted((SQL_FOLDER / room).glob("*.sql"))}


@cache
def macro_names() -> frozenset[str]:
    """The name of every macro."""
    return frozenset(re.findall(r"^create or replace macro (\w+)", macros(), re.MULTILINE))


@cache
def macros() -> str:
    """All macro definitions as one script."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((SQL_FOLDER / "macros").glob("*.sql")))


def quoted(value: str) -> str:
    """A text as a literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def among(column: str, values: Iterable[str]) -> str:
    """The SQL condition that a column has one of these values (at least one), named one by one so that a question opens no other run's files."""
    named = sorted(set(map(quoted, values)))
    return f"{column} = {named[0]}" if len(named) == 1 else f"{column} in ({', '.join(named)})"
