"""An extractor without weights for the tests of the fleet: a module that workers can import, and what its items do when they are told to go wrong."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from pydantic import Field

from personascope.extract.job import Extractor, Item, Job, Settings
from personascope.extract.workers import refuse_other_weights
from personascope.ingest.fleet.worker import Setup
from personascope.ingest.weights.checkpoints import Checkpoint, content_hash
from personascope.study.spreading import Cells
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter


class FakeModels:
    """Models without any: what a run asks of them."""

    attention = "sdpa"
    sharding = None

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype

    def release(self) -> None:
        pass

    def dtype(self, checkpoint: Checkpoint) -> str:
        return self._dtype

    def device_name(self) -> tuple[str, float | None]:
        return "fake", None

    @property
    def device(self) -> SimpleNamespace:
        return SimpleNamespace(value="fake")

    def merge_figures(self, *checkpoints: Checkpoint | None) -> dict[str, float]:
        return {}


class FakeChoices(NamedTuple):
    """What a worker is sent in place of choices of device and dtype."""

    dtype: str = "float32"

    def open(self, threads: int | None = None) -> Any:
        return FakeModels(self.dtype)


class FakeCell:
    """In place of a cell's work: it does what it is told under the name of the cell."""

    def __init__(self, name: str, folder: Path, deed: str = "", then: str | None = None) -> None:
        """`then`: what is left of it behind its first task."""
        self.cell = SimpleNamespace(name=name)
        self._deed, self._folder, self._then = deed, folder, then

    def rest(self, outcome: tuple[str, str]) -> "FakeCell | None":
        return None if self._then is None else FakeCell(f"{self.cell.name} of {outcome[0]}", self._folder, self._then)

    def work_off(self, device: str) -> tuple[str, str]:
        misbehave(self._folder, self.cell.name, self._deed)
        return self.cell.name.upper(), device


class FakeCells(Cells):
    """In place of the work of several cells."""

    def work_off(self, device: str) -> Any:
        return [work.work_off(device) for work in self.works]


class Sleeping(Setup[Path, None]):
    """Writes the worker's number into the file it is given, sleeps far longer than a test lasts, and writes down that it was ended in order."""

    def begin(self) -> None:
        pass

    def work(self, task: Path) -> None:
        task.write_text(f"{os.getpid()}\n")
        try:
            time.sleep(300)
        except KeyboardInterrupt:
            with task.open("a") as more:
                more.write("ended\n")
            raise


class CountingSettings(Settings):
    """How many items there are, what some of them do, and where they leave word of it."""

    form: str = "raw"
    items: int = 8
    deeds: dict[str, str] = Field(default={}, exclude=True)
    folder: Path = Field(exclude=True)
    rounds: int = 1


class Counting(Extractor[int]):
    """`counting`: a completion an item; an item may end its process, always or once, raise, or wait until it may go on."""

    name = "counting"
    version = 1
    settings_type = CountingSettings
    settings: CountingSettings

    def spec(self) -> RunSpec:
        return self.base_spec({}, subject=self.job.checkpoint.name)

    def _items(self, number: int) -> list[Item[int]]:
        return [Item(f"{number}/{value:02d}", 10, 100 * number + value) for value in range(self.settings.items)]

    def prepare(self) -> tuple[Sequence[Item[int]], Mapping[str, Rows]]:
        return self._items(0), {"checkpoints": [self.job.checkpoint.row()]}

    def next_round(self, number: int, writer: RunWriter) -> Sequence[Item[int]]:
        return self._items(number) if number < self.settings.rounds else []

    def check(self) -> Mapping[str, float]:
        self._journal("checked")
        return {"fake": 0.5}

    def rows_of(self, items: Sequence[Item[int]]) -> Mapping[str, Rows]:
        return self.process(items)

    def process(self, items: Sequence[Item[int]]) -> Mapping[str, Rows]:
        for item in items:
            self._journal(f"begins {item.key}")
            misbehave(self.settings.folder, item.key, self.settings.deeds.get(item.key, ""))
            self._journal(f"did {item.key}")
        return {"completions": [{"example_id": item.key, "sample_ix": 0, "text": f"{item.value**2}", "n_new_tokens": item.value} for item in items]}

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        return {"n": writer.read_staged("completions").num_rows, **self.self_checks}

    def _journal(self, line: str) -> None:
        with (self.settings.folder / "journal").open("a") as file:
            file.write(f"{line} {os.getpid()}\n")


def misbehave(folder: Path, key: str, deed: str) -> None:
    """`deadly` ends the process, `unlucky` the first one alone, `greedy` the first two; `wrong` raises, `waits` waits for the file `go`, `slow` a moment."""
    marks = [folder / f"tried-{key.replace('/', '-')}-{number}" for number in range({"unlucky": 1, "greedy": 2}.get(deed, 0))]
    fresh = [mark for mark in marks if not mark.exists()]
    if deed == "deadly" or fresh:
        for mark in fresh[:1]:
            mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if deed == "wrong":
        raise ValueError("wrong")
    if deed == "slow":
        time.sleep(0.5)
    while deed == "waits" and not (folder / "go").exists():
        time.sleep(0.02)


def weights(folder: Path) -> Checkpoint:
    """A checkpoint in a folder that holds a file and no weights."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    shape: dict[str, Any] = {"family": "qwen2", "variant": "base", "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "d_model": 8, "vocab_size": 10}
    checkpoint = Checkpoint(name="fake", id=str(folder), revision=content_hash(folder), path=folder, **shape)
    refuse_other_weights(checkpoint)
    return checkpoint


def counting(folder: Path, lake: str = "lake", dtype: str = "float32", workers: Any = None, say: Any = None, **settings: Any) -> Counting:
    """The extractor over `folder`, an item a part."""
    models: Any = FakeModels(dtype)
    job = Job(Lake.open(folder / lake), weights(folder / "weights"), models, batch_tokens=10, workers=workers, say=say or (lambda line: None))
    return Counting(CountingSettings(folder=folder, **settings), job)


def visible_gpus() -> list[str]:
    """Which GPUs Ray lets this process see."""
    return os.environ["CUDA_VISIBLE_DEVICES"].split(",")
