"""The notebook door: a lake as a Python object whose answers are polars frames and whose figures are Altair charts, without torch."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import Value, WarehouseSource
from personascope.warehouse.asking.views import ROOMS, rooms, views
from personascope.warehouse.drawing import quantised
from personascope.warehouse.drawing.charts import Drawing, with_rows
from personascope.warehouse.drawing.figures import figure, figures
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.schema import tables

STORED = "What is stored?"
CHART_WIDTH = 700  # pixels; a notebook's column is narrower than a report's page
FILTERS = {  # what a figure can be chosen by: the runs it draws say so, `drawing` is its own
    "drawing": "its own name, as `Charts` lists it",
    "study": "study the runs were made for",
    "run_id": "a run, or the beginning of its name",
    "extractor": "which extractor or loader wrote the rows",
    "origin": "extracted, brought or published",
    "checkpoint": "short name of the checkpoint that was read",
    "subject": "checkpoint plus whose tokens it read: librarian, base_librarian",
    "persona": "persona whose generations were read",
    "tokens_from": "checkpoint that sampled the tokens",
    "source_persona": "persona the checkpoint was trained on",
    "family": "model family of the checkpoint",
    "variant": "base, instruct, marker ...",
}
_FACTS = """with made as (  -- a run that wrote no row of its checkpoint is known by the name
    select run_id, checkpoint, source_persona, family, variant from checkpoints
    union
    select r.run_id, c.checkpoint, c.source_persona, c.family, c.variant from runs as r join checkpoints as c on c.checkpoint = r.checkpoint
  )
  select distinct r.run_id, r.study, r.extractor, origin_of(r.kind, r.extractor) as origin,
    unnest([r.checkpoint, c.checkpoint, s.checkpoint]) as checkpoint, coalesce(s.subject, r.subject) as subject, s.persona, s.tokens_from,
    c.source_persona, c.family, c.variant
  from runs as r
  left join subjects as s on s.run_id = r.run_id
  left join made as c on c.run_id = r.run_id"""
_RUNS = "select run_id, kind, study, extractor, checkpoint, subject, n_rows, round(seconds, 1) as seconds, finished from runs order by finished desc, run_id"


def open_lake(root: Path | str = "lake") -> "OpenLake":
    """The lake at `root` for reading; raises PersonascopeError where there is none."""
    return OpenLake(Lake.existing(root))


class Charts(list[alt.TopLevelMixin]):
    """Several charts of one figure, each with its title; `names` are those of the drawings, by which `figure(..., drawing=...)` takes one."""

    def __init__(self, charts: Iterable[alt.TopLevelMixin], names: Sequence[str]) -> None:
        super().__init__(charts)
        self.names = list(names)

    def __repr__(self) -> str:
        return "\n".join([f"{len(self)} charts:", *(f"  [{number}] {name}" for number, name in enumerate(self.names))])


class OpenLake:
    """A lake that can be asked: `sql`, `figure`, `figures`, `views`, `runs`. Runs that are committed meanwhile are seen by the next question."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._seen: list[str] = []
        self._source = self._connect()

    def sql(self, query: str, **parameters: Value) -> pl.DataFrame:
        """Rows of one SELECT (also WITH, or FROM ...); `$name` in the query stands for the parameter of that name.

        Raises PersonascopeError with the reason where the query fails or would do anything but read.
        """
        return self._current().select(query, **parameters)

    def figure(self, name: str, **filters: str | Sequence[str]) -> alt.TopLevelMixin | Charts:
        """The figure of that name as a chart with its sample under the title; `Charts` where several of its drawings fit the filters.

        Filters are the names of `FILTERS`, each with a value or a list of values: a drawing fits when its runs have one of them for every filter. `study`
        also draws as that study's report does; without it the runs of every study are drawn. Raises PersonascopeError for a name that is not known and
        where nothing fits.
        """
        module = figure(name)
        wanted = {key: [value] if isinstance(value, str) else [str(each) for each in value] for key, value in filters.items()}
        for key in wanted:
            if key not in FILTERS:
                raise PersonascopeError(f"figure {name!r}: filter {key!r} is unknown; {nearest(key, FILTERS)}")
        source = self._current()
        drawings: dict[tuple[str, frozenset[str]], Drawing] = {}
        for study in wanted.get("study") or self._studies():
            drawings |= {(each.name, each.runs): each for each in quantised.told(source, module.draw(source, study))}
        if not drawings:
            raise PersonascopeError(f"figure {name!r}: the lake {self.lake.root} has nothing to draw; it needs {module.NEEDS}")
        fitting = self._fitting(name, list(drawings.values()), wanted)
        if len(fitting) == 1:
            return _chart(fitting[0])
        return Charts(map(_chart, fitting), [each.name for each in fitting])

    def figures(self) -> pl.DataFrame:
        """Every figure by name: what it shows, and what a lake must hold for it."""
        rows = [{"figure": name, "shows": _first_sentence(module.__doc__), "needs": module.NEEDS} for name, module in figures().items()]
        return pl.DataFrame(rows)

    def views(self, name: str | None = None) -> pl.DataFrame:
        """Every view and table by the question it answers; of the one called `name` every column with its type and meaning.

        Raises PersonascopeError for a name that is neither a view nor a table.
        """
        if name is not None:
            return self._columns(name)
        asked = [{"question": ROOMS[room], "name": each, "grain": views()[each].grain, "meaning": views()[each].meaning} for each, room in rooms().items()]
        stored = [{"question": STORED, "name": each.name, "grain": ", ".join(each.key), "meaning": each.meaning} for _, each in sorted(tables().items())]
        return pl.DataFrame([*asked, *stored])

    def runs(self) -> pl.DataFrame:
        """Committed runs, newest first."""
        return self._current().select(_RUNS)

    def __repr__(self) -> str:
        sizes = self._current().select("select count(*) as runs, count(distinct study) as studies, coalesce(sum(n_rows), 0)::bigint as rows from runs")
        runs, studies, rows = sizes.row(0)
        return f"lake {self.lake.root}: {_counted(runs, 'run')} of {_counted(studies, 'study', 'studies')}, {_counted(rows, 'row')}"

    def _columns(self, name: str) -> pl.DataFrame:
        if name not in views() and name not in tables():
            raise PersonascopeError(f"view {name!r} is unknown; {nearest(name, [*views(), *tables()], '`views()` lists every one')}")
        described = self._current().select(f"select column_name as column, column_type as type from (describe {name})")
        meanings = [views()[name].doc(each) if name in views() else tables()[name].docs[each] for each in described["column"]]
        return described.with_columns(meaning=pl.Series(meanings, dtype=pl.String))

    def _current(self) -> WarehouseSource:
        """The source, connected anew when runs were committed or deleted since it was."""
        if self._seen != self.lake.run_ids():
            self._source = self._connect()
        return self._source

    def _connect(self) -> WarehouseSource:
        self._seen = self.lake.run_ids()
        return WarehouseSource(Warehouse(self.lake))

    def _studies(self) -> list[str]:
        """The studies of the runs in the lake; one empty name where no run is of a study."""
        return self._current().select("select distinct study from runs where study is not null order by study")["study"].to_list() or [""]

    def _fitting(self, name: str, drawings: Sequence[Drawing], wanted: Mapping[str, Sequence[str]]) -> list[Drawing]:
        """The drawings that fit every filter; raises PersonascopeError naming the first filter that leaves none."""
        if not wanted:
            return list(drawings)
        facts: dict[str, dict[str, set[str]]] = {}
        for row in self._current().select(_FACTS).iter_rows(named=True):
            about = facts.setdefault(row["run_id"], {key: set() for key in FILTERS})
            for key, value in row.items():
                about[key] |= {value} if value is not None else set()
        left = list(drawings)
        for key, values in wanted.items():
            known = [{each.name} if key == "drawing" else set().union(*(facts[run][key] for run in each.runs if run in facts)) for each in left]
            kept = [each for each, found in zip(left, known, strict=True) if any(_is(key, value, found) for value in values)]
            if not kept:
                others = sorted(set().union(*known))
                expected = f"expected one of {', '.join(others)}" if others else f"their runs say no {key}"
                raise PersonascopeError(f"figure {name!r}: {key} {' or '.join(map(repr, values))} is in none of the drawings; {expected}")
            left = kept
        return left


def _is(key: str, value: str, found: Iterable[str]) -> bool:
    return any(each.startswith(value) for each in found) if key == "run_id" else value in found


def _chart(drawing: Drawing) -> alt.TopLevelMixin:
    """The drawing as a chart that holds its rows, with title, sample and a width."""
    specification = drawing.figure.spec(drawing.title, drawing.facts, drawing.height) | {"width": CHART_WIDTH}
    found: Any = alt.Chart.from_dict(with_rows(specification, drawing.rows.to_dicts()))
    return found


def _first_sentence(text: str | None) -> str:
    return (text or "").strip().splitlines()[0].rstrip(".")


def _counted(number: int, word: str, words: str = "") -> str:
    return f"{number:,} {word if number == 1 else words or f'{word}s'}"
