"""The parts of a run over a fleet: what is sent to a worker, how it makes sure that it would make the same run, and how rows come back."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from personascope.extract.hands import Hands, OwnHands, Work, Workers
from personascope.ingest.fleet.fleet import ADDRESS, ENDED, Fleet, Lost, Session
from personascope.ingest.fleet.worker import RefusedError, Setup
from personascope.ingest.weights.checkpoints import Checkpoint, content_hash
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import HOME
from personascope.warehouse.store.conforming import Rows
from personascope.warehouse.store.hashing import file_hash, stable_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.locks import host
from personascope.warehouse.store.parts import PartStage
from personascope.warehouse.store.provenance import package_versions
from personascope.warehouse.store.staging import disk_errors

if TYPE_CHECKING:
    from personascope.extract.job import Extractor, Item
    from personascope.extract.weights.on_device import ModelChoices, Models
    from personascope.warehouse.store.writer import RunWriter

COMPUTING = ("accelerate", "bitsandbytes", "numpy", "peft", "safetensors", "tokenizers", "torch", "transformers", "vllm")
LOCAL_REVISION = 16  # characters of the content hash of a folder


class Choices(Protocol):
    """How a worker holds models: pickled to it, and opened there once for the runs of a command."""

    def open(self, threads: int | None) -> Models: ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Written:
    """A part in the stage of its run, under a name that is none."""

    name: str


@dataclass(frozen=True)
class Computed:
    """A part of a run as a worker gives it: in the stage, or its rows where the worker does not see that; and who computed it."""

    rows: Written | Mapping[str, Rows]
    host: str
    device: str
    merge_figures: Mapping[str, float]


@cache
def code() -> dict[str, str]:
    """What computes rows: the hash of this package's modules, and the versions of those it computes with."""
    modules = sorted(path for wing in ("extract", "ingest", "warehouse") for path in (HOME / wing).rglob("*.py"))
    own = stable_hash([[str(path.relative_to(HOME)), file_hash(path)] for path in modules])
    versions = package_versions()
    return {"the code of personascope": own} | {name: versions[name] for name in COMPUTING if name in versions}


@cache
def opened(choices: Choices, threads: int | None) -> Models:
    """The models of this worker, kept from run to run: the same checkpoint is loaded once."""
    return choices.open(threads)


class PartsSetup(Setup[tuple[str, "Sequence[Item[Any]]"], Computed]):
    """One run, as workers are told of it: the extractor behind `prepare`, without weights, and all that must be the same there."""

    def __init__(self, extractor: Extractor[Any], choices: Choices, run_id: str, stage: PartStage, threads: int | None = None) -> None:
        self._choices, self._run_id, self._stage, self._threads, self._code = choices, run_id, stage, threads, code()
        self.extractor = copy.copy(extractor)
        self.extractor.job = replace(extractor.job, lake=Lake(extractor.job.lake.root), models=None, workers=None, say=_silent)  # type: ignore[arg-type]
        self._nonce = stage.folder / f".seen-{uuid4().hex}"
        self._nonce.touch()
        self._sees = False

    def begin(self) -> dict[str, float]:
        """Makes sure of code, weights and run, then checks the model; returns the figures of that."""
        job = self.extractor.job
        refuse_other_code(self._code)
        for checkpoint in (job.checkpoint, job.donor):
            if checkpoint is not None:
                refuse_other_weights(checkpoint)
        self.extractor.job = job = replace(job, models=opened(self._choices, self._threads))
        spec = self.extractor.spec()
        if spec.run_id != self._run_id:
            raise RefusedError(
                f"{host()} would make run {spec.run_id} in {spec.dtype} on {spec.device} instead of {self._run_id}; expected devices alike, or --dtype as typed"
            )
        self._sees = self._nonce.is_file()
        return dict(self.extractor.check())

    def work(self, task: tuple[str, Sequence[Item[Any]]]) -> Computed:
        name, items = task
        job = self.extractor.job
        rows: Mapping[str, Rows] | Written = self.extractor.rows_of(items)
        if self._sees:
            with disk_errors(f"staging of run {self._run_id} by {host()}"):
                rows = Written(self._stage.write(name, rows))  # type: ignore[arg-type]
        return Computed(rows, host(), job.models.device_name()[0], job.models.merge_figures(job.checkpoint, job.donor))


def refuse_other_code(expected: Mapping[str, str]) -> None:
    """Raises RefusedError where this process computes with other `code` than the command does."""
    here = code()
    if differing := sorted(name for name in expected.keys() | here.keys() if expected.get(name) != here.get(name)):
        told = "; ".join(f"{name} is {here.get(name, 'missing')} on {host()} and {expected.get(name, 'missing')} where the command is" for name in differing)
        raise RefusedError(f"{told}; expected the same installation on every machine")


def refuse_other_weights(checkpoint: Checkpoint) -> None:
    """Raises RefusedError where this machine has not the weights of a checkpoint in the place where the command has them."""
    folders = [(checkpoint.adapter, checkpoint.revision), (checkpoint.path, checkpoint.parent_revision)] if checkpoint.adapter else None
    for folder, revision in folders or [(checkpoint.path, checkpoint.revision)]:
        assert folder is not None
        if not folder.is_dir():
            raise RefusedError(f"{folder}, the weights of {checkpoint.name}, is not on {host()}; expected a folder that every machine sees")
        if revision and len(revision) == LOCAL_REVISION and (found := content_hash(folder)) != revision:
            raise RefusedError(f"{folder} on {host()} has content hash {found}, not {revision}; expected the same weights on every machine")


class PartsHands(Hands):
    """The workers of a fleet, for one run."""

    def __init__(self, fleet: Fleet, choices: Choices, extractor: Extractor[Any], writer: RunWriter, parts: int) -> None:
        self._extractor, self._writer, self._fleet = extractor, writer, fleet
        self._session: Session[tuple[str, Sequence[Item[Any]]], Computed] = Session(
            fleet, PartsSetup(extractor, choices, writer.run_id, writer.stage, fleet.sizing.threads), parts
        )
        self._merged: dict[str, float] = {}

    def __exit__(self, *_: object) -> None:
        pass

    def check(self) -> Mapping[str, float]:
        figures: Mapping[str, float] = self._session.greeting()
        return figures

    def stage(self, parts: Mapping[str, Sequence[Item[Any]]], staged: Callable[[str], None]) -> Work[None]:
        yield from ()  # this process computes none
        for name, computed in self._session.work_off({name: (name, items) for name, items in parts.items()}):
            if isinstance(computed, Lost):
                raise PersonascopeError(
                    f"{self._extractor.name}: part {name} ({len(parts[name])} items, the first {parts[name][0].key}) ended {computed.workers} workers, each "
                    f"{ENDED}; expected a smaller --batch-tokens, or fewer --workers on a machine. All other parts that were done are kept"
                )
            by = computed.host, computed.device
            if isinstance(computed.rows, Written):
                self._writer.take_part(name, computed.rows.name, by)
            else:
                self._writer.write_part(name, computed.rows, by)
            self._merged |= computed.merge_figures
            staged(name)

    def merge_figures(self) -> dict[str, float]:
        return self._merged

    def told(self) -> str:
        return self._session.told()


class FleetWorkers(Workers):
    """The workers of a command; the fleet is opened when the first run needs it."""

    def __init__(self, fleet: Callable[[int], Fleet], choices: Choices, models: Models, is_remote: bool) -> None:
        """`fleet` opens one whose workers take so many GPUs each. `models` are those of this process, which answer for workers too unless these may be
        elsewhere (`is_remote`)."""
        self._open, self._models, self.choices, self.is_remote = fleet, models, choices, is_remote
        self._fleet: Fleet | None = None
        self._gpus = 1
        self._dtypes: dict[Checkpoint, str] = {}
        self._device: tuple[str, float | None] | None = None

    @property
    def fleet(self) -> Fleet:
        self._fleet = self._fleet or self._open(self._gpus)
        return self._fleet

    def taking(self, gpus: int) -> FleetWorkers:
        """These workers, from now on with so many GPUs each: those that have another number of them end."""
        if gpus != self._gpus:
            self.close()
            self._gpus = gpus
        return self

    def dtype(self, checkpoint: Checkpoint) -> str:
        if not self.is_remote:
            return self._models.dtype(checkpoint)
        if checkpoint not in self._dtypes:
            self._dtypes[checkpoint] = self.fleet.ask(_dtype, self.choices, self.fleet.sizing.threads, checkpoint)
        return self._dtypes[checkpoint]

    def device_name(self) -> tuple[str, float | None]:
        if not self.is_remote:
            return self._models.device_name()
        self._device = self._device or self.fleet.ask(_device, self.choices, self.fleet.sizing.threads)
        return self._device

    def hands(self, extractor: Extractor[Any], writer: RunWriter, parts: int) -> Hands:
        if parts < 2 and not self.is_remote and self._models.device.value == "cpu":
            return OwnHands(extractor, writer)
        self._models.release()
        return PartsHands(self.taking(extractor.gpus).fleet, self.choices, extractor, writer, parts)

    def close(self) -> None:
        """Ends the workers, so that others find their devices free; the next run that needs some opens a fleet anew."""
        if self._fleet is not None:
            self._fleet.close()
            self._fleet = None


def open_workers(typed: int | None, choices: ModelChoices, models: Models, say: Callable[[str], None], cells: int | None = None) -> FleetWorkers | None:
    """Workers for the runs of a command: as many as typed, else one per GPU of this machine or of the cluster that RAY_ADDRESS names.

    For the `cells` of a grid there are no more of them than cells on one machine, and on a CPU one per core unless typed, each with `cell_threads`. None where
    this process computes everything: for one worker, and where nothing is typed without Ray, or without a cluster on machines with fewer than two GPUs. Raises
    PersonascopeError where several are typed, or a cluster is named, and Ray is not installed, or models are spread over devices.
    """
    is_remote, kind = bool(os.environ.get(ADDRESS)), (choices.device or "").partition(":")[0]
    if choices.sharding is not None:
        if is_remote or (typed or 1) > 1:
            raise PersonascopeError(f"--shard-model spreads one model over this machine; expected --workers 1, and no {ADDRESS}")
        return None
    wanted = typed or (None if is_remote else _fitting(models.device.value, cells is not None))
    if cells is not None and wanted and not is_remote:
        wanted = min(wanted, cells)
    if wanted == 1:
        return None
    if not has_ray():
        raise PersonascopeError(f"{f'{typed} workers' if typed else ADDRESS} need Ray, which is not installed: pip install 'personascope[ray]'")
    on_gpus = None if not kind and is_remote else (kind or models.device.value.partition(":")[0]) == "cuda"

    def opened(gpus: int) -> Fleet:
        fleet = Fleet.open(wanted, on_gpus, say, None if cells is None or is_remote else cell_threads(typed, models.device.value), gpus)
        say(fleet.sizing.reason)
        return fleet

    return FleetWorkers(opened, choices._replace(device=kind or None), models, is_remote)


def cell_threads(typed: int | None, device: str) -> int | None:
    """Threads that a cell of a grid is trained and read in: one on a CPU where no workers are typed, since the last bits of a product can depend on it and
    nobody chose. None: its share of the cores."""
    return 1 if device == "cpu" and typed is None else None


def _fitting(device: str, for_cells: bool) -> int:
    """How many workers this machine has where none are typed."""
    if device == "cpu" and for_cells and has_ray():
        return os.cpu_count() or 1
    return _gpus() if device == "cuda:0" and has_ray() else 1


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def has_ray() -> bool:
    """Whether the extra `ray` is installed; nothing of it is imported."""
    return find_spec("ray") is not None


def _dtype(choices: Choices, threads: int, checkpoint: Checkpoint) -> str:
    return opened(choices, threads).dtype(checkpoint)


def _device(choices: Choices, threads: int) -> tuple[str, float | None]:
    return opened(choices, threads).device_name()


def _silent(line: str) -> None:
    """Workers do not talk: the command does."""
