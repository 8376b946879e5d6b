"""Which files a question has to open: where it is bound to a run, a checkpoint, a subject or a persona, those alone that can hold such rows.

A scan costs 0.2 ms for every file, whether it holds anything of what is asked or not. So the question is planned over tables without rows first; what the plan
pushes into every scan of a table bounds the files of that table, and for this one question a view of them stands before the table's own.
"""

import json
import re
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from personascope.warehouse.asking.answers import Parameters
from personascope.warehouse.asking.blank import all_view_types, as_table, copy_views, table_types
from personascope.warehouse.asking.stored import OF_FEW_RUNS, no_rows, of_few_files, runs_that_lack, table_definitions
from personascope.warehouse.asking.views import tables_behind
from personascope.warehouse.store.committed import Contents
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.schema import tables

MANY = 200  # runs; fewer are opened as fast as a plan is made
FEW = 100  # files of a table, which are read faster than what is kept of all runs
PLANS = 1000  # that are kept; a page asks some dozens
PIVOT = re.compile(r"\bpivot\b", re.IGNORECASE)  # which is several statements, of which one is explained
BOUND = ("run_id", "checkpoint", "subject", "persona", "study")
# What depends on how many rows there are says nothing over tables that have none; the last one takes minutes over many views.
_OF_ROWS = "statistics_propagation, join_order, compressed_materialization, projection_pullup"
# An "optional" filter is one that an operator above the scan applies, too.
_IS = re.compile(r"(?:optional: )?\(?\"?(\w+)\"? ?= ?'([^']*)'\)?")
_IS_IN = re.compile(r"(?:optional: )?\(?\"?(\w+)\"? IN \(('[^']*'(?:, '[^']*')*)\)\)?")
_TERM = re.compile(r"\(\w+ (?:= '[^']*'|IN \('[^']*'(?:, '[^']*')*\))\)")
Bounds = dict[str, frozenset[str]]  # by column, the values that a row of a scan may have
_Ranges = tuple[tuple[str, str], ...]  # smallest and largest text of a column in each row group of a file


class Narrowing:
    """The plans of one state of a lake; no run holds a table in `empty`, and the files of one in `variable` are those in the variable of a cursor where that is
    set. Views in `kept`, here and below, are tables for a question, which need not look behind them."""

    def __init__(self, lake: Lake, contents: Contents, memory: int, empty: Collection[str] = (), variable: Collection[str] = ()) -> None:
        self._lake, self._contents, self._memory, self._empty, self._variable = lake, contents, memory, empty, variable
        self._reach: dict[tuple[str, str], _Reach] = {}  # by table and column
        self._plans: dict[tuple[str, str, frozenset[str]], dict[str, list[Bounds]] | None] = {}
        self._planners: dict[frozenset[str], duckdb.DuckDBPyConnection] = {}
        self._lock = threading.Lock()

    def script(self, query: str, parameters: Parameters, held: Collection[str] = (), kept: frozenset[str] = frozenset()) -> list[str]:
        """The statements that put fewer files in the place of a table, for the connection that asks this question; none where nothing is gained or sure.

        Tables in `held` are read already, and no plan is made for a question that reads no other from many files.
        """
        return [self._of_few_files(name, runs) for name, runs in self._fewer(query, parameters, held, kept).items()]

    def script_of_few(self, query: str, parameters: Parameters, held: Collection[str], kept: frozenset[str]) -> list[str] | None:
        """The same for a question that so opens few files of each table that has many; None for any other."""
        fewer = self._fewer(query, parameters, held, kept)
        if not fewer or any(len(runs) > FEW for runs in fewer.values()) or not fewer.keys() >= self._of_many_files_behind(query, held, kept):
            return None
        return [self._of_few_files(name, runs) for name, runs in fewer.items()]

    def _fewer(self, query: str, parameters: Parameters, held: Collection[str], kept: frozenset[str]) -> dict[str, list[str]]:
        """By name of a table, the runs whose files are enough for a question, where these are at most half of them."""
        contents = self._contents
        if len(contents.runs) < MANY or PIVOT.search(query):
            return {}
        behind = self._of_many_files_behind(query, held, kept) - self._whole(query, held, kept)
        if not behind or (scans := self._scans(query, parameters, kept)) is None:
            return {}
        found: dict[str, list[str]] = {name: [] for name in sorted(behind - scans.keys())}  # named, and nothing hangs on its rows
        for name in scans.keys() - set(held) - self._whole(query, held, kept):
            known = [self._heeded(bounds, query, parameters) for bounds in scans[name]]
            if all(known):
                runs = self._may_hold(name, known)
                if 2 * len(runs) <= len(contents.own_files.get(name, [])):
                    found[name] = runs
        return found

    def _of_many_files_behind(self, query: str, held: Collection[str], kept: frozenset[str]) -> set[str]:
        """The tables behind a question that are read from many files."""
        return self._of_many_files & tables_behind(_words(query), kept) - set(held)

    def _whole(self, query: str, held: Collection[str], kept: frozenset[str]) -> set[str]:
        """The tables behind a question of which rows of a roll-up are made up, and of other runs' than are asked for."""
        named = tables_behind(_words(query), kept) - set(held)
        return {parent for name in named & self._made_up.keys() for parent in tables()[name].rollup_of}

    def _of_few_files(self, name: str, runs: list[str]) -> str:
        """The statement by which a question reads a table from the files of these runs."""
        if not runs:
            return _in_its_place(f"create view {name} as {no_rows(name)};")
        if name in self._variable:
            return of_few_files(self._lake, name, runs)
        few = Contents(self._contents.runs.only(runs), self._contents.strays)
        return _in_its_place(table_definitions(self._lake, few, OF_FEW_RUNS, [name])[name])

    @cached_property
    def _of_many_files(self) -> set[str]:
        """The tables that are read from many files, so that a plan pays; a roll-up may be made up from those of others."""
        many = {name for name in table_types() if len(self._contents.own_files.get(name, [])) >= MANY // 2}
        return many | {name for name, table in tables().items() if not many.isdisjoint(table.rollup_of)}

    def interrupt(self) -> None:
        """Stops a plan that is being made."""
        for planner in list(self._planners.values()):
            planner.interrupt()

    def _scans(self, query: str, parameters: Parameters, kept: frozenset[str] = frozenset()) -> dict[str, list[Bounds]] | None:
        """By name of a table what each of its scans is bound to; None for a question that cannot be planned like this. Told once for a question."""
        asked = query, repr(parameters), kept
        try:
            return self._plans[asked]
        except KeyError:
            found = self._planned(query, parameters, kept)
            if len(self._plans) >= PLANS:
                self._plans.clear()
            self._plans[asked] = found
            return found

    def _planned(self, query: str, parameters: Parameters, kept: frozenset[str]) -> dict[str, list[Bounds]] | None:
        with self._lock:
            if kept not in self._planners:
                self._planners[kept] = _planner(kept, self._memory, self._empty)
            planner = self._planners[kept]
            try:
                answer = planner.execute(f"explain (format json) {query}", parameters).fetchall()
            except duckdb.InterruptException:
                raise
            except duckdb.Error:
                return None
        found: dict[str, list[Bounds]] = defaultdict(list)
        for operator, above in _operators(json.loads(answer[0][1])):
            details = operator.get("extra_info") or {}
            if (name := str(details.get("Table", "")).rpartition(".")[2]) in table_types():
                inside = details.get("Filters", [])
                found[name].append(_bounds([*([inside] if isinstance(inside, str) else inside), *above]))
        return found

    def _heeded(self, bounds: Bounds, query: str, parameters: Parameters) -> Bounds:
        """The bounds whose values the question or a manifest spells as the plan does."""
        given = [str(value) for value in (parameters.values() if isinstance(parameters, dict) else parameters or [])]

        def is_spelt(column: str, value: str) -> bool:
            return value in self._contents.runs if column == "run_id" else value in given or f"'{value}'" in query

        return {column: values for column, values in bounds.items() if all(is_spelt(column, value) for value in values)}

    def _may_hold(self, name: str, known: list[Bounds]) -> list[str]:
        """The runs that hold a table and can have a row of it within any of the bounds: by their names, which their rows bear, and by the statistics in the
        footers of their files."""
        found: set[str] = set()
        holders = self._holders(name)
        for bounds in known:
            named = bounds.get("run_id")
            others = {column: values for column, values in bounds.items() if column != "run_id"}
            if named is None:
                found.update(set(holders).intersection(*(self._reaching(name, column).those(values) for column, values in others.items())))
            else:
                of_these = [run_id for run_id in holders if run_id in named]
                found.update(run_id for run_id in of_these if all(_is_in(self._ranges(run_id, name, column), values) for column, values in others.items()))
        return [run_id for run_id in holders if run_id in found]

    def _reaching(self, name: str, column: str) -> "_Reach":
        """What a column of each run's file of a table can hold, told once."""
        if (name, column) not in self._reach:
            self._reach[name, column] = _Reach({run_id: self._ranges(run_id, name, column) for run_id in self._holders(name)})
        return self._reach[name, column]

    def _holders(self, name: str) -> list[str]:
        """The runs that have rows of a table, also those for which they are made up."""
        holders = self._contents.holders.get(name, [])
        if name not in self._made_up:
            return holders
        known = set(holders)
        return [*holders, *(run_id for run_id in self._made_up[name] if run_id not in known)]

    @cached_property
    def _made_up(self) -> dict[str, list[str]]:
        return runs_that_lack(self._contents)

    def _ranges(self, run_id: str, name: str, column: str) -> _Ranges | None:
        """Smallest and largest text of a column in each row group of a run's file, None where that is not told or the rows are made up; the state of the run
        says that the file is the one whose footer was read."""
        if run_id in self._made_up.get(name, ()):
            return None
        try:
            return _ranges(f"{self._lake.runs_folder}/{run_id}/{name}.parquet", self._contents.runs.met[run_id].state).get(column)
        except OSError:
            return None


class _Reach:
    """What a column of each run's file can hold, asked by value: the files that hold one value are most, and are not compared one by one."""

    def __init__(self, ranges: Mapping[str, _Ranges | None]) -> None:
        self._by_value: dict[str, set[str]] = defaultdict(set)
        self._wide: dict[str, _Ranges] = {}
        self._untold: set[str] = set()
        for run_id, found in ranges.items():
            if found is None:
                self._untold.add(run_id)
            elif all(low == high for low, high in found):
                for low, _ in found:
                    self._by_value[low].add(run_id)
            else:
                self._wide[run_id] = found

    def those(self, values: Collection[str]) -> set[str]:
        """The runs whose file can hold one of the values."""
        wide = {run_id for run_id, ranges in self._wide.items() if _is_in(ranges, values)}
        return wide.union(self._untold, *(self._by_value.get(value, ()) for value in values))


def _words(query: str) -> list[str]:
    return re.findall(r"\w+", query.lower())


def _is_in(ranges: _Ranges | None, values: Collection[str]) -> bool:
    return ranges is None or any(low <= value <= high for low, high in ranges for value in values)


def _planner(kept: Collection[str], memory: int, empty: Collection[str]) -> duckdb.DuckDBPyConnection:
    """A connection with every table, without rows, and every view, where those that are kept are tables, too; locked down, as planning may read and compute.

    Of tables in `empty` a plan knows that they have no rows, and scans nothing that is joined to them alone.
    """
    connection = duckdb.connect()
    copy_views(connection)
    made = (f"create view {name} as {no_rows(name)};" if name in empty else as_table(name, types) for name, types in table_types().items())
    connection.execute("\n".join(made))
    connection.execute("\n".join(f"drop view {name}; {as_table(name, all_view_types()[name])}" for name in kept))
    connection.execute(
        f"set disabled_optimizers = '{_OF_ROWS}'; set memory_limit = '{memory}B'; set temp_directory = ''; set autoinstall_known_extensions = false; "
        "set autoload_known_extensions = false; set enable_external_access = false; set lock_configuration = true"
    )
    return connection


def _in_its_place(definition: str) -> str:
    """The statement that puts this definition of a table in the place of the table's own, for one question."""
    return definition.replace("create view", "create temp view", 1)


def _operators(plan: Any, above: Sequence[str] = ()) -> Iterator[tuple[dict[str, Any], Sequence[str]]]:
    """Every operator with the terms of the filter right above it, where one stands there: some are not pushed into the scan of a table."""
    for operator in plan if isinstance(plan, list) else [plan]:
        yield operator, above
        expressions = (operator.get("extra_info") or {}).get("Expression", []) if operator.get("name") == "FILTER" else []
        terms = [term for each in ([expressions] if isinstance(expressions, str) else expressions) for term in _terms(each)]
        yield from _operators(operator.get("children", []), terms)


def _terms(expression: str) -> list[str]:
    """The comparisons of a filter that all have to hold: of `((a = 'x') AND (b = 'y'))` both, of anything else between them none."""
    inner = expression[1:-1] if expression.startswith("((") else expression
    return [term for term in inner.split(" AND ") if _TERM.fullmatch(term)]


def _bounds(filters: Sequence[str]) -> Bounds:
    """What the filters of a scan bind; each holds for every row that comes of it."""
    found: Bounds = {}
    for text in filters:
        if match := _IS.fullmatch(text):
            column, values = match[1], frozenset([match[2]])
        elif match := _IS_IN.fullmatch(text):
            column, values = match[1], frozenset(re.findall(r"'([^']*)'", match[2]))
        else:
            continue
        if column in BOUND:
            found[column] = found.get(column, values) & values
    return found


@lru_cache(maxsize=1 << 16)
def _ranges(path: str, _state: str) -> dict[str, _Ranges]:
    """By column that questions are bound by, smallest and largest text in each row group of a file; without those of which a footer does not tell. Raises
    OSError."""
    try:
        footer = pq.read_metadata(path)
        places = {footer.schema.column(index).path: index for index in range(footer.num_columns)}
        groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
        told = {column: [groups_of.column(places[column]).statistics for groups_of in groups] for column in BOUND if column in places}
        return {column: tuple((each.min, each.max) for each in found) for column, found in told.items() if all(map(_tells, found))}
    except (pa.ArrowException, UnicodeDecodeError):
        return {}


def _tells(statistics: Any) -> bool:
    return statistics is not None and statistics.has_min_max and isinstance(statistics.min, str)
