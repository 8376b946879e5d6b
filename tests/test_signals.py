"""Signals: SIGTERM and a closed terminal end a command as ctrl-C does, a query too; workers and the app's server end with the command they belong to."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(40)

ENDLESS = "with a as materialized (select range as i from range(1000000)) select count(*) from a, a b, a c where a.i % 7 = b.i % 5"  # on all threads
FLEET = """
import sys
from pathlib import Path
from fleet_tasks import Sleeping
from personascope.ingest.fleet.fleet import Fleet, Session
from personascope.warehouse.signals import end_in_order
end_in_order()
fleet = Fleet.open(1, False, print)
try:
    list(Session(fleet, Sleeping()).work_off({"long": Path(sys.argv[1])}))
finally:
    fleet.close()
"""


def start(*arguments: object, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "personascope", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment)


def until(happens, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happens():
            return True
        time.sleep(0.05)
    return bool(happens())


def processor_seconds(process: int) -> float:
    return _seconds_in(Path(f"/proc/{process}/stat"))


def _seconds_in(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_computing(process: int) -> bool:
    """Whether DuckDB's own threads have worked for a while, which no import does; on one core it has none, and the process must be far behind all imports."""
    with suppress(FileNotFoundError, ProcessLookupError):
        others = [task for task in Path(f"/proc/{process}/task").iterdir() if task.name != str(process)]
        return processor_seconds(process) > 6 or any(_seconds_in(task / "stat") > 0.5 for task in others)
    return False


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_query_with_one_sentence(tmp_path, number, code):
    lake = Lake.open(tmp_path / "lake")
    command = start("sql", ENDLESS, "--lake", lake.root)
    assert until(lambda: is_computing(command.pid), 60)
    command.send_signal(number)
    out, err = command.communicate(timeout=20)
    assert (command.returncode, out) == (code, "")
    assert err == "personascope: stopped; committed runs are intact, and the same command resumes this one\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_command_and_in_order_where_that_is_not_killed(tmp_path, number):
    pytest.importorskip("ray", reason="the extra personascope[ray]")
    script = tmp_path / "fleet.py"
    script.write_text(FLEET)
    journal = tmp_path / "journal"
    found = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])  # by workers too
    command = subprocess.Popen([sys.executable, str(script), str(journal)], stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": found})
    assert until(lambda: (journal.is_file() and journal.read_text()) or command.poll() is not None, 120) and command.poll() is None
    worker = int(journal.read_text())
    assert alive(worker)
    command.send_signal(number)
    command.wait(timeout=30)
    assert until(lambda: not alive(worker), 30)
    said = journal.read_text().split()
    assert said[0] == str(worker) and said[1:] in ([["ended"]] if number != signal.SIGKILL else [[], ["ended"]])  # Ray ends orphans in one way or the other


def test_the_server_of_the_app_is_the_command_and_goes_with_it(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def answers() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    command = start("app", "--port", port, "--lake", lake.root, STREAMLIT_SERVER_HEADLESS="true")
    assert until(answers, 60)
    command.kill()
    command.wait(timeout=10)
    assert until(lambda: not answers(), 5)


HELPED = """
import os, signal, subprocess, sys
from personascope.warehouse import signals
signals.GRACE = 1.0
COMMANDS = "exec sleep 300", "trap '' TERM; exec sleep 300", "exec sleep 300"
helper, stubborn, other = (subprocess.Popen(["sh", "-c", each], stdout=subprocess.DEVNULL, start_new_session=True) for each in COMMANDS)
signals.ending_with_this_one([other.pid])()
signals.ending_with_this_one([helper.pid, stubborn.pid])
print(helper.pid, stubborn.pid, other.pid, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_with_a_command_that_is_killed_unless_that_is_called_off():
    command = subprocess.Popen([sys.executable, "-c", HELPED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert command.stdin and command.stdout
    helper, stubborn, other = map(int, command.stdout.readline().split())
    try:
        assert alive(helper) and alive(other)
        command.communicate("\n", timeout=20)
        assert command.returncode == -signal.SIGKILL and until(lambda: not alive(helper), 20)
        assert alive(other)
        assert until(lambda: not alive(stubborn), 30)
    finally:
        for process in (helper, stubborn, other):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
