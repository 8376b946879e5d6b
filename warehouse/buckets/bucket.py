"""What a bucket does for runs: it lists, sends, reads and removes objects, and commits small ones so that of several who race one wins."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable

from personascope.warehouse.errors import PersonascopeError

MARK = b'{"format": 1}\n'  # the object at the root of a bucket by which it is known
Watch = Callable[[int], None]  # told of every block, its bytes; raises to stop what moves


class DamagedError(PersonascopeError):
    """What lies in the bucket is not what was pushed; other runs are."""


@dataclass(frozen=True)
class Change:
    """A small object to commit: over the version that was read, or where None is there."""

    key: str
    content: bytes
    over: str | None


class Bucket(Protocol):
    """A place for objects under keys such as `runs/RUN/run.json`. Every method raises PersonascopeError where the place does not answer."""

    @property
    def address(self) -> str:
        """The place as it is typed."""
        ...

    @property
    def at_once(self) -> int:
        """Objects that are moved side by side."""
        ...

    @property
    def batch(self) -> int:
        """Runs that are committed together."""
        ...

    @property
    def notice(self) -> str | None:
        """What a user should know of how this place commits; None where there is nothing to say."""
        ...

    def entries(self) -> dict[str, int]:
        """Bytes by key of everything under `runs/`; nothing where there is nothing yet."""
        ...

    def read(self, key: str, most: int) -> tuple[bytes, str] | None:
        """A small object of at most `most` bytes and the version that it is; None where there is none."""
        ...

    def open(self, key: str) -> AbstractContextManager[BinaryIO]:
        """An object to read from its beginning on. Raises FileNotFoundError where there is none."""
        ...

    def send(self, source: BinaryIO, key: str, watch: Watch) -> None:
        """An object of all bytes of `source`, whole or not at all."""
        ...

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        """Puts each object in place if what is there is still what was read; whether it did. What was sent before is there before it."""
        ...

    def remove(self, keys: Iterable[str]) -> None:
        """Removes objects; one that is not there stays so."""
        ...


@runtime_checkable
class Described(Protocol):
    """A bucket that shows its visitors a page."""

    def describe(self, text: str) -> None:
        """Puts the page, in Markdown, in the place of the one that is there."""
        ...
