"""Queries in a process of their own: the same rows and sentences, limits that hold for everything, and whatever happens to that process, who asked goes on."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from personascope.warehouse.asking import child
from personascope.warehouse.asking.child import ask
from personascope.warehouse.asking.guard import GIB, Limits
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

ENDLESS = "select count(*) from range(100000000) a, range(100000) b where a.range % 7 = b.range % 5"
DEAF = {  # queries inside which DuckDB does not listen
    "one function": "select length(lpad('x', 400000000, 'ab'))",
    "300,000 literals": f"select 1 in ({', '.join(map(str, range(300_000)))})",
    "10,000 unions": " union all ".join(f"select {number} as a" for number in range(10_000)),
}
ORPHAN = """
import sys, threading, time
from pathlib import Path
from personascope.warehouse.asking import child
from personascope.warehouse.store.lake import Lake
lake = Lake(Path(sys.argv[1]))
child.ask(lake, "select 1")
print(child._crew.warm.process.pid, flush=True)
child.ask(lake, sys.argv[2])
"""


@pytest.fixture(autouse=True)
def _the_process_ends_with_the_test(request):
    yield
    if request.node.get_closest_marker("slow") and child._crew.warm is not None:
        child._crew.warm.end()
        child._crew.warm = None


def warm() -> int:
    """The process that is kept for the next question."""
    assert child._crew.warm is not None
    return child._crew.warm.process.pid


def until(happens: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not happens() and time.monotonic() < end:
        time.sleep(0.02)
    return happens()


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def seconds_of(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow(4)
def test_one_warm_process_gives_the_rows_and_sentences_of_the_warehouse(planted_lake):
    lake, warehouse = planted_lake.lake, Warehouse(planted_lake.lake)
    queries = [
        "select * from runs order by run_id",
        "select count(*) as n, sum(n_rows) as rows from runs where kind <> $kind",
        """select 1::hugeint as a, interval 1 day as b, 'infinity'::date as c, [1, null] as d, {'a': 1.5::decimal(38, 2)} as e, map {'k': now()::date} as f,
           '\\x00'::blob as g, null as h, 'nan'::float as i, 2 as a, 3 as A, '2024-01-01'::timestamptz as j, 1::utinyint as k, time '12:00' as l""",
        "select * from runs where false",
    ]
    for query in queries:
        parameters: dict = {"kind": "ingest"} if "$kind" in query else {}
        found = ask(lake, query, None, parameters)
        assert found.equals(warehouse.select(query, parameters)) and found.schema == warehouse.select(query, parameters).schema
    first = warm()
    for query in ("select nothing", "copy (select 1) to 'x'", "select 1 as a, \ud800", "select getenv('HOME')", "select * from read_text('/etc/passwd')"):
        with pytest.raises(PersonascopeError) as here:
            warehouse.select(query)
        with pytest.raises(PersonascopeError) as there:
            ask(lake, query)
        assert str(there.value) == str(here.value)
    with pytest.raises(PersonascopeError, match=r"gives 100,000,000 rows of 0\.745 GiB; expected 0\.25 GiB at most"):
        ask(lake, "from range(100000000)")
    with pytest.raises(PersonascopeError, match="no lake"):
        ask(Lake(lake.root / "nowhere"), "select 1")
    assert warm() == first


@pytest.mark.slow(4)
@pytest.mark.parametrize("query", DEAF.values(), ids=DEAF)
def test_a_query_that_does_not_listen_is_killed_and_the_next_one_is_answered(planted_lake, query):
    ask(planted_lake.lake, "select 1")
    before = warm()
    with pytest.raises(PersonascopeError, match=r"^the query ran longer than 0\.1 s and was stopped; ask for less of it$"):
        ask(planted_lake.lake, query, Limits(0.1))
    assert not runs(before)
    assert ask(planted_lake.lake, "select 1 as a").item() == 1


@pytest.mark.slow(6)
def test_memory_is_bounded_where_duckdb_does_not_count_it(planted_lake):
    limits = Limits(30.0, GIB // 8)
    with pytest.raises(PersonascopeError, match=r"took more than 0\.25 GiB of memory and was stopped"):
        ask(planted_lake.lake, "select sum(length(lpad('x', 300000000 + i::int, 'ab'))) from range(40) t(i)", limits)
    with pytest.raises(PersonascopeError, match=r"does not fit the 0\.125 GiB of memory"):
        ask(planted_lake.lake, "select list(i) from range(100000000) t(i)", limits)


@pytest.mark.slow(5)
def test_a_process_that_somebody_kills_costs_its_query_alone(planted_lake):
    lake = planted_lake.lake
    ask(lake, "select 1")
    os.kill(warm(), signal.SIGKILL)
    assert until(lambda: not runs(warm()), 5)
    assert ask(lake, "select 2 as a").item() == 2  # it was idle: nobody notices
    victim = warm()
    busy = seconds_of(victim) + 0.3

    def kill() -> None:
        if until(lambda: seconds_of(victim) > busy, 20):
            os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(PersonascopeError, match="the process that answers queries was ended by signal 9"):
        ask(lake, ENDLESS, Limits(30.0))
    killer.join()
    assert ask(lake, "select 3 as a").item() == 3


@pytest.mark.slow(6)
def test_two_queries_at_once_are_two_processes_and_an_interrupted_one_ends(planted_lake, monkeypatch):
    lake = planted_lake.lake
    ask(lake, "select 1")
    first, said = warm(), list[str]()

    def endless() -> None:
        with pytest.raises(PersonascopeError) as stopped:
            ask(lake, ENDLESS)
        said.append(str(stopped.value))

    other = threading.Thread(target=endless)
    other.start()
    assert until(lambda: child._crew.warm is None, 5)
    assert ask(lake, "select 2 as a").item() == 2 and not said
    assert runs(first) and warm() != first
    os.kill(first, signal.SIGKILL)
    other.join()
    assert "ended by signal 9" in said[0]
    last = warm()
    monkeypatch.setattr(child, "too_long", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ask(lake, DEAF["one function"], Limits(0.1))
    assert not runs(last) and child._crew.warm is None


@pytest.mark.slow(4)
def test_no_more_queries_than_there_are_places(planted_lake, monkeypatch):
    monkeypatch.setattr(child, "_crew", child._Crew())
    for _ in range(child.AT_ONCE):
        child._crew._places.acquire()
    with pytest.raises(PersonascopeError, match="4 queries are being answered, and no more at once; ask again in a moment"):
        ask(planted_lake.lake, "select 1", Limits(0.05))


@pytest.mark.slow(4)
def test_the_process_ends_with_the_one_it_works_for(planted_lake):
    command = [sys.executable, "-c", ORPHAN, str(planted_lake.lake.root), DEAF["one function"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        busy = seconds_of(process) + 0.3
        assert until(lambda: seconds_of(process) > busy, 20)
        parent.kill()
        parent.wait()
    assert until(lambda: not runs(process), 5)
