"""Parts of a run over Ray workers: the same files as one process gives, and what becomes of the run when workers, machines and the command go."""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest

from fleet_tasks import FakeCell, FakeCells, FakeChoices, FakeModels, counting, visible_gpus
from personascope.extract.job import run
from personascope.extract.workers import FleetWorkers, PartsSetup
from personascope.ingest.fleet import fleet as fleet_module
from personascope.ingest.fleet.fleet import Fleet
from personascope.ingest.fleet.worker import RefusedError
from personascope.study.spreading import spread_cells
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.locks import RunBusyError, host
from ray_cluster import small_cluster

ray = pytest.importorskip("ray", reason="the extra personascope[ray]")
pytestmark = pytest.mark.slow(40)

COMMAND = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from fleet_tasks import FakeChoices, FakeModels, counting
from personascope.extract.job import run
from personascope.extract.workers import FleetWorkers
from personascope.ingest.fleet.fleet import Fleet
fleet = Fleet.open(2, None, print)
run(counting(Path(sys.argv[1]), workers=FleetWorkers(lambda gpus: fleet, FakeChoices(), FakeModels("float32"), True), deeds={deeds!r}))
"""


@pytest.fixture(scope="module")
def cluster():
    with small_cluster() as made:
        yield made


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def fleet(cluster, said):
    found = Fleet.open(2, None, said.append)
    yield found
    found.close()


@pytest.fixture(scope="module")
def workers(fleet) -> Any:
    return crew(fleet)


def crew(fleet, dtype: str = "float32") -> FleetWorkers:
    models: Any = FakeModels("float32")
    return FleetWorkers(lambda gpus: fleet, FakeChoices(dtype), models, is_remote=True)


def hashes(made) -> dict[str, str]:
    return {name: file.blake2 for name, file in made.job.lake.manifest(made.spec().run_id).tables.items()}


def alone(folder: Path, **settings: Any) -> dict[str, str]:
    """What one process makes of the same."""
    made = counting(folder, lake="alone", **settings)
    run(made)
    return hashes(made)


def journal(folder: Path) -> list[str]:
    return [line.rpartition(" ")[0] for line in (folder / "journal").read_text().splitlines()]


def until(happens: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_workers_give_the_files_of_one_process_round_after_round_and_each_is_set_up_once(tmp_path, workers):
    made = counting(tmp_path, workers=workers, rounds=2)
    run_id = run(made)
    lines = journal(tmp_path)
    assert sorted(line for line in lines if line.startswith("did")) == [f"did {number}/{item:02d}" for number in range(2) for item in range(8)]
    assert 1 <= lines.count("checked") <= 2
    manifest = made.job.lake.manifest(run_id)
    assert sum(each.parts for each in manifest.workers) == 16 and {(each.host, each.device) for each in manifest.workers} == {(host(), "fake")}
    assert manifest.summary == {"n": 16, "self_check.fake": 0.5}
    assert hashes(made) == alone(tmp_path, rounds=2)
    assert not list(made.job.lake.staging_folder.iterdir())


def test_a_worker_that_does_not_see_the_stage_sends_its_rows(tmp_path, workers, monkeypatch):
    monkeypatch.setattr(Path, "touch", lambda self: None)
    made = counting(tmp_path, workers=workers)
    run(made)
    monkeypatch.undo()
    assert hashes(made) == alone(tmp_path)


def test_a_part_whose_worker_is_killed_is_done_by_another_and_nothing_twice(tmp_path, workers, said):
    made = counting(tmp_path, workers=workers, deeds={"0/03": "unlucky"})
    run(made)
    lines = journal(tmp_path)
    assert lines.count("begins 0/03") == 2 and sorted(line for line in lines if line.startswith("did")) == [f"did 0/{item:02d}" for item in range(8)]
    assert "that had part 000-000003 is gone" in said[-1]
    assert hashes(made) == alone(tmp_path)


def test_a_part_that_ends_three_workers_is_named_and_the_same_command_goes_on_without_ray(tmp_path, workers):
    with pytest.raises(PersonascopeError, match=r"counting: part 000-000002 \(1 items, the first 0/02\) ended 3 workers"):
        run(counting(tmp_path, workers=workers, items=4, deeds={"0/02": "deadly"}))
    assert journal(tmp_path).count("begins 0/02") == 3
    made = counting(tmp_path, items=4)
    run(made)
    assert journal(tmp_path).count("did 0/00") == 1, "what was staged is kept"
    assert hashes(made) == alone(tmp_path, items=4)


def test_what_goes_wrong_in_a_worker_is_said_by_the_command(tmp_path, workers):
    with pytest.raises(PersonascopeError, match=rf"^a worker on {host()}: ValueError: wrong(\n|$)"):
        run(counting(tmp_path, workers=workers, deeds={"0/01": "wrong"}))


def test_a_cell_that_ends_three_workers_is_told_and_the_others_go_on(tmp_path, fleet):
    made = counting(tmp_path)
    works: Any = [FakeCell("a", tmp_path), FakeCell("deadly", tmp_path, "deadly"), FakeCell("b", tmp_path, "unlucky"), FakeCell("c", tmp_path)]
    found: dict[str, Any] = {work.cell.name: each for work, each in spread_cells(crew(fleet), made.job.lake.staging_folder, made.job.checkpoint, works)}
    assert isinstance(failure := found.pop("deadly"), PersonascopeError) and "3 workers were ended by the system" in str(failure)
    assert found == {name: (name.upper(), "fake") for name in "abc"}
    assert not list(made.job.lake.staging_folder.iterdir())


def test_cells_that_end_workers_together_are_tried_one_by_one(tmp_path, fleet):
    made = counting(tmp_path)
    cells: dict[str, Any] = {name: FakeCell(name, tmp_path, "deadly" if name == "deadly" else "") for name in ("a", "deadly", "b", "c", "d")}
    works: Any = [FakeCells([cells["a"], cells["deadly"], cells["b"]], 3), FakeCells([cells["c"], cells["d"]], 3)]
    found: dict[str, Any] = {work.cell.name: each for work, each in spread_cells(crew(fleet), made.job.lake.staging_folder, made.job.checkpoint, works)}
    assert isinstance(failure := found.pop("deadly"), PersonascopeError) and "3 workers were ended by the system" in str(failure)
    assert found == {name: (name.upper(), "fake") for name in "abcd"}


def test_a_cell_that_ended_two_workers_has_the_third_to_itself(tmp_path, fleet, said):
    made = counting(tmp_path)
    works: Any = [FakeCell("greedy", tmp_path, "greedy"), FakeCell("a", tmp_path, "slow"), FakeCell("b", tmp_path, "slow")]
    found = [work.cell.name for work, _ in spread_cells(crew(fleet), made.job.lake.staging_folder, made.job.checkpoint, works)]
    assert found[-1] == "greedy" and sorted(found) == ["a", "b", "greedy"]
    assert sum("that had cell greedy is gone" in line for line in said) == 2
    assert len(fleet.hands) == 1, "the other has left its memory to it"


def test_what_is_left_of_a_cell_is_another_task_behind_all_cells_which_may_be_lost_too(tmp_path, fleet):
    made = counting(tmp_path)
    works: Any = [
        FakeCell("a", tmp_path, then="unlucky"),
        FakeCell("b", tmp_path, "slow", then="deadly"),
        FakeCell("c", tmp_path, "slow"),
        FakeCell("d", tmp_path, "slow"),
    ]
    found = [(work.cell.name, each) for work, each in spread_cells(crew(fleet), made.job.lake.staging_folder, made.job.checkpoint, works)]
    (failure,) = [each for name, each in found if name == "b of B"]
    assert isinstance(failure, PersonascopeError) and "3 workers were ended by the system" in str(failure)
    assert sorted(name for name, _ in found) == ["a of A", "b of B", "c", "d"] and dict(found)["a of A"] == ("A OF A", "fake")
    assert found[0][0] in ("c", "d"), "a was done before, and what is left of it waits for them to begin"


@pytest.mark.parametrize("what", ["dtype", "weights", "code"])
def test_a_worker_that_would_make_another_run_is_refused(tmp_path, fleet, what):
    made = counting(tmp_path, workers=crew(fleet))
    writer = made.job.lake.start(made.spec())
    assert writer is not None
    made.prepare()
    setup = PartsSetup(made, FakeChoices("float32"), writer.run_id, writer.stage)
    if what == "dtype":
        setup = PartsSetup(made, FakeChoices("bfloat16"), writer.run_id, writer.stage)
    elif what == "weights":
        (tmp_path / "weights" / "config.json").write_text('{"other": true}')
    else:
        setup._code = setup._code | {"torch": "0.2"}
    expected = {"dtype": "would make run .* in bfloat16 on fake instead of", "weights": "has content hash .* expected the same weights", "code": "torch is"}
    with writer, pytest.raises(RefusedError, match=expected[what]):
        setup.begin()


def test_the_dtype_of_a_run_is_that_of_a_worker(tmp_path, fleet):
    made = counting(tmp_path, workers=crew(fleet, "bfloat16"), items=1)
    assert made.spec().dtype == "bfloat16"
    run(made)
    assert made.job.lake.manifest(made.spec().run_id).dtype == "bfloat16"


def test_a_second_command_is_refused_and_after_a_kill_the_same_one_goes_on(tmp_path, cluster, workers):
    deeds = {"0/07": "waits"}
    script = COMMAND.format(tests=str(Path(__file__).parents[1]), deeds=deeds)
    command = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=os.environ | {"RAY_ADDRESS": cluster.address})
    workers.close()
    until(lambda: (tmp_path / "journal").exists() and sum(line.startswith("did") for line in journal(tmp_path)) == 7)
    with pytest.raises(RunBusyError, match="another process is writing it now"):
        run(counting(tmp_path))
    command.send_signal(signal.SIGKILL)
    command.wait(20)
    (tmp_path / "go").touch()
    made = counting(tmp_path, workers=workers)
    run(made)
    lines = journal(tmp_path)
    assert [lines.count(f"did 0/{item:02d}") for item in range(6)] == [1] * 6
    assert hashes(made) == alone(tmp_path)


def alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def when_begun(folder: Path, items: int, cluster: Any) -> threading.Thread:
    """Removes a machine when so many items have begun, and lets those that wait go on when its worker is gone."""

    def begun() -> list[str]:
        lines = (folder / "journal").read_text().splitlines() if (folder / "journal").exists() else []
        return [line.rpartition(" ")[2] for line in lines if line.startswith("begins")]

    def watch() -> None:
        try:
            until(lambda: len(begun()) >= items)
            processes = set(begun()[-2:])
            cluster.remove_node(cluster.machines.pop(), allow_graceful=False)
            until(lambda: not all(map(alive, processes)))
        finally:
            (folder / "go").touch()  # what waits would wait for ever

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_run_ends_on_the_machines_that_are_left(tmp_path, cluster, workers):
    thread = when_begun(tmp_path, 2, cluster)
    made = counting(tmp_path, workers=workers, items=6, deeds={f"0/{item:02d}": "waits" for item in range(6)})
    run(made)
    thread.join()
    assert len([line for line in journal(tmp_path) if line.startswith("begins")]) == 7
    assert hashes(made) == alone(tmp_path, items=6)


def test_without_any_worker_the_command_waits_and_says_so_and_is_resumed(tmp_path, cluster, workers, fleet, monkeypatch):
    monkeypatch.setattr(fleet_module, "PATIENCE", 0.2)
    waits: list[str] = []

    def say(line: str) -> None:
        if "no worker is left" in line:
            waits.append(line)
            _thread.interrupt_main()

    monkeypatch.setattr(fleet, "say", say)
    thread = when_begun(tmp_path, 3, cluster)
    with pytest.raises(KeyboardInterrupt):
        run(counting(tmp_path, workers=workers, items=5, deeds={"0/02": "waits"}))
    thread.join()
    assert waits[0].startswith("no worker is left or free; 3 parts wait for a machine")
    made = counting(tmp_path, items=5)
    run(made)
    assert [journal(tmp_path).count(f"did 0/{item:02d}") for item in range(2)] == [1, 1]
    assert hashes(made) == alone(tmp_path, items=5)


@pytest.mark.slow(8)
def test_an_engine_over_several_gpus_asks_ray_for_them(cluster):
    machine = cluster.add_node(num_cpus=1, num_gpus=3)
    cluster.wait_for_nodes()
    opened = []

    def open_fleet(gpus: int) -> Fleet:
        opened.append(Fleet.open(None, True, lambda line: None, gpus=gpus))
        return opened[-1]

    workers = FleetWorkers(open_fleet, FakeChoices("float32"), cast(Any, FakeModels("float32")), is_remote=True)
    try:
        assert len(workers.fleet.ask(visible_gpus)) == 1 and workers.fleet.sizing.width == 3
        assert workers.taking(1).fleet is opened[0] and len(opened) == 1
        assert len(workers.taking(2).fleet.ask(visible_gpus)) == 2 and opened[1].sizing[:3] == (1, 0, 2)
        assert not opened[0].hands, "those with one GPU each have gone"
    finally:
        workers.close()
        cluster.remove_node(machine)


def test_a_cluster_that_asks_for_a_token_is_told_in_a_sentence(monkeypatch):
    def asked(**options):
        raise ray.exceptions.AuthenticationError("Token authentication is enabled but no authentication token was found")

    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", asked)
    with pytest.raises(PersonascopeError, match=r"no Ray cluster at head:6379 \(Token authentication .* was found\); .*, RAY_AUTH_MODE=token with"):
        Fleet.open(2, None, lambda line: None)
