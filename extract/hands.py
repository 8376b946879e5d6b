"""Who computes the parts of a run: this process, or workers elsewhere that answer to the same calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from personascope.warehouse.store.locks import host

if TYPE_CHECKING:
    from personascope.extract.job import Extractor, Item
    from personascope.ingest.weights.checkpoints import Checkpoint
    from personascope.warehouse.store.writer import RunWriter


class Place(Protocol):
    """Where weights are held, as far as it decides a run."""

    def dtype(self, checkpoint: Checkpoint) -> str: ...

    def device_name(self) -> tuple[str, float | None]: ...


class Hands(AbstractContextManager["Hands"], Protocol):
    """Computes the parts of one run and stages them; the loop counts, and commits."""

    def check(self) -> Mapping[str, float]:
        """The figures of the extractor's self-checks."""

    def stage(self, parts: Mapping[str, Sequence[Item[Any]]]) -> Iterator[str]:
        """Names of the parts, each when its rows are staged."""

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

    def stage(self, parts: Mapping[str, Sequence[Item[Any]]]) -> Iterator[str]:
        device, _ = self._extractor.job.models.device_name()
        for name, items in parts.items():
            self._writer.write_part(name, self._extractor.rows_of(items), (host(), device))
            yield name

    def merge_figures(self) -> dict[str, float]:
        job = self._extractor.job
        return job.models.merge_figures(job.checkpoint, job.donor)

    def told(self) -> str:
        return ""
