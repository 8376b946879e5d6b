"""Lakes that many tests read: filled once in a run of the suite, by whichever worker asks first, and copied by a test that writes."""

import fcntl
import json
import os
import runpy
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

PLANTED = Path(__file__).with_name("sql")
RUNS = "runs.json"


class Planted(NamedTuple):
    """A lake with known effects, not to be written to, and its run_ids by name."""

    lake: Lake
    runs: dict[str, str]

    def copy(self, place: Path) -> Lake:
        """The same lake at `place`, to write into."""
        return Lake.open(shutil.copytree(self.lake.root, place, dirs_exist_ok=True))


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """The folder of this run that all its workers see."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def once(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """The folder `name` of this run, filled by `fill(folder)` in the first worker that asks, while the others wait."""
    place = shared_folder(factory) / "once" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            partial = place.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            fill(partial)
            partial.rename(place)
    return place


def planted(factory: pytest.TempPathFactory) -> Planted:
    """The lake with known effects on attention that most tests of views ask."""

    def build(folder: Path) -> dict[str, str]:
        runs: dict[str, str] = runpy.run_path(str(PLANTED / "planted.py"))["build"](folder / "lake")["runs"]
        return runs

    return _planted(factory, "planted", build)


def pairs(factory: pytest.TempPathFactory) -> Planted:
    """The lake of `sql/planted_pairs.py`, trained checkpoints each with its base run, without analyses."""

    def build(folder: Path) -> dict[str, str]:
        runs: dict[str, str] = runpy.run_path(str(PLANTED / "planted_pairs.py"))["build"](folder / "lake")[1]
        return runs

    return _planted(factory, "pairs", build)


def analysed_pairs(factory: pytest.TempPathFactory) -> Planted:
    """The same with all analyses."""

    def build(folder: Path) -> dict[str, str]:
        made = pairs(factory)
        analyses.refresh(made.copy(folder / "lake"))
        return made.runs

    return _planted(factory, "analysed-pairs", build)


def _planted(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], dict[str, str]]) -> Planted:
    folder = once(factory, name, lambda folder: (folder / RUNS).write_text(json.dumps(build(folder))))
    return Planted(Lake.existing(folder / "lake"), json.loads((folder / RUNS).read_text()))


def tracking_store(factory: pytest.TempPathFactory, place: Path) -> None:
    """Puts a new MLflow store at `place`: its migrations take seconds, so that one is made in a run of the suite and copied."""
    from personascope.ingest.tracking.tracker import _create_store

    made = once(factory, "tracking", lambda folder: _create_store(folder / "tracking.db", (folder / "mlruns").as_uri()))
    shutil.copy(made / "tracking.db", place)


def published(factory: pytest.TempPathFactory, files: Path) -> Lake:
    """The lake of a folder of published files; not to be written to."""
    from personascope.ingest.published import ingest_published

    def fill(folder: Path) -> None:
        assert not ingest_published(Lake.open(folder), [files]).failed

    return Lake.existing(once(factory, f"published-{files.name}", fill))


def bring(lake: Lake, other: Lake) -> None:
    """Puts copies of another lake's runs into a lake, as if they had been written there."""
    shutil.copytree(other.runs_folder, lake.runs_folder, dirs_exist_ok=True)


def write(lake: Lake, name: str, n_rows: int = 2, force: bool = False) -> str:
    """Commits a run of `n_rows` completions."""
    writer = lake.start(RunSpec(kind="extract", extractor="completions", version=1, identity={"name": name}, checkpoint=name), force=force)
    assert writer is not None
    with writer:
        rows = [{"example_id": f"e{index}", "sample_ix": 0, "text": "t", "finish_reason": "stop"} for index in range(n_rows)]
        writer.write_part("rows", {"completions": rows})
        return writer.commit().run_id


def of_completions(factory: pytest.TempPathFactory, place: Path, runs: Mapping[str, int]) -> Lake:
    """A lake at `place` with a run of so many completions by each name, to write into: the copy of one that is written once in a run of the suite."""

    def fill(folder: Path) -> None:
        lake = Lake.open(folder)
        for name, n_rows in runs.items():
            write(lake, name, n_rows)

    made = once(factory, "completions-" + "-".join(f"{name}.{n_rows}" for name, n_rows in runs.items()), fill)
    return Lake.open(shutil.copytree(made, place))


def count(lake: Lake) -> int:
    """How many completions a lake holds, as a query finds them."""
    return Warehouse(lake).select("select count(*) from completions").item()
