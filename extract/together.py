"""Drives several runs side by side: the parts that they ask for at one time are computed in one go, and what each gets is what it would get alone."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from personascope.extract.hands import Part, Work
from personascope.extract.job import Extractor
from personascope.warehouse.store.conforming import Rows

K = TypeVar("K")
T = TypeVar("T")


@dataclass
class Tally:
    """What was computed together so far, for whoever shows progress."""

    items: float = 0
    works: int = 0

    def told(self) -> str:
        return f"{self.items:,.0f} completions, {self.works} cells at once" if self.items else ""


def together(works: Iterable[tuple[K, Work[T]]], at_once: int, tally: Tally | None = None) -> Iterator[tuple[K, T]]:
    """Every piece of work by its key with what it returns, as they end; `at_once` are under way at a time, each with one part asked for.

    What a part raises is raised in its work alone; one that lets it out ends all, as does a caller that turns away.
    """
    waiting, tally = iter(works), tally or Tally()
    asking: dict[int, tuple[K, Work[T], Part]] = {}
    begun = 0
    try:
        while True:
            while len(asking) < at_once and (following := next(waiting, None)) is not None:
                begun += 1
                key, work = following
                try:
                    asking[begun] = key, work, next(work)
                except StopIteration as done:
                    yield key, done.value
            if not asking:
                return
            tally.works = len(asking)
            answers = _rows_of([part for _, _, part in asking.values()])
            for number, answer in zip(list(asking), answers, strict=True):
                key, work, part = asking[number]
                tally.items += sum(item.weight for item in part.items)
                try:
                    following_part = work.throw(answer) if isinstance(answer, Exception) else work.send(answer)
                except StopIteration as done:
                    del asking[number]
                    yield key, done.value
                else:
                    asking[number] = key, work, following_part
    except BaseException as error:
        for _, work, _ in asking.values():
            with suppress(BaseException):
                work.throw(error)
        raise


def _rows_of(parts: Sequence[Part]) -> list[Mapping[str, Rows] | Exception]:
    """The rows of every part, or why it has none: those of one kind of extractor together."""
    kinds: dict[type[Extractor[Any]], list[int]] = defaultdict(list)
    for place, part in enumerate(parts):
        kinds[type(part.extractor)].append(place)
    found: dict[int, Mapping[str, Rows] | Exception] = {}
    for kind, places in kinds.items():
        found |= dict(zip(places, kind.rows_together([parts[place] for place in places]), strict=True))
    return [found[place] for place in range(len(parts))]
