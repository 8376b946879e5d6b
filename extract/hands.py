"""Who computes the parts of a run: this process, or workers elsewhere that answer to the same calls."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from personascope.warehouse.store.locks import host

if TYPE_CHECKING:
    from personascope.extract.job import Extractor, Item
    from personascope.ingest.weights.checkpoints import Checkpoint
    from personascope.warehouse.store.conforming import Rows
    from personascope.warehouse.store.writer import RunWriter

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """A part of a run that this process is to compute: whoever drives the run sends its rows back, or throws why there are none."""

    extractor: Extractor[Any]
    items: Sequence[Item[Any]]

    def rows(self) -> Mapping[str, Rows]:
        return self.extractor.rows_of(self.items)


Work = Generator[Part, "Mapping[str, Rows]", T]
"""What asks for the rows of its parts one after the other, and returns something in the end."""


def alone(work: Work[T]) -> T:
    """What the work returns, its parts computed one by one."""
    try:
        part = next(work)
        while True:
            try:
                rows = part.rows()
            except BaseException as error:
                part = work.throw(error)
            else:
                part = work.send(rows)
    except StopIteration as done:
        returned: T = done.value
        return returned


class Place(Protocol):
    """Where weights are held, as far as it decides a run."""

    def dtype(self, checkpoint: Checkpoint) -> str: ...

    def device_name(self) -> tuple[str, float | None]: ...


class Hands(AbstractContextManager["Hands"], Protocol):
    """Computes the parts of one run and stages them; the loop counts, and commits."""

    def check(self) -> Mapping[str, float]:
        """The figures of the extractor's self-checks."""

    def stage(self, parts: Mapping[str, Sequence[Item[Any]]], staged: Callable[[str], None]) -> Work[None]:
        """Stages the parts, and tells the name of each when its rows are; asks for those that this process is to compute."""

    def merge_figures(self) -> dict[str, float]:
        """By how much adapters that were merged for it differ from those applied unmerged."""

    def told(self) -> str:
        """What progress says of them; nothing of this process."""


class Workers(Place, Protocol):
    """Workers elsewhere, kept for the runs of a command."""

    def hands(self, extractor: Extractor[Any], writer: RunWriter, parts: int) -> Hands:
        """Those for a run, whose first round has so many parts to do."""

    def close(self) -> None:
        """Ends the workers."""


class OwnHands(Hands):
    """This process."""

    def __init__(self, extractor: Extractor[Any], writer: RunWriter) -> None:
        self._extractor, self._writer = extractor, writer

    def __exit__(self, *_: object) -> None:
        pass

    def check(self) -> Mapping[str, float]:
        return self._extractor.check()

    def stage(self, parts: Mapping[str, Sequence[Item[Any]]], staged: Callable[[str], None]) -> Work[None]:
        device, _ = self._extractor.job.models.device_name()
        for name, items in parts.items():
            self._writer.write_part(name, (yield Part(self._extractor, items)), (host(), device))
            staged(name)

    def merge_figures(self) -> dict[str, float]:
        job = self._extractor.job
        return job.models.merge_figures(job.checkpoint, job.donor)

    def told(self) -> str:
        return ""
