"""A folder as a bucket: a disk that several machines mount."""

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from personascope.warehouse.buckets.bucket import MARK, Change, DamagedError, Watch
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import BUCKET_MARK
from personascope.warehouse.store.staging import is_disk_full

BLOCK = 1 << 20


class FolderBucket:
    """Objects as files below a folder. The first commit of a key is a hard link, which one of several makes; later ones take a lock and compare."""

    at_once, batch, notice = 4, 1, None

    def __init__(self, address: str, root: Path) -> None:
        self.address, self.root = address, root
        if not (root / BUCKET_MARK).exists() and any((root / name).exists() for name in ("warehouse.duckdb", "staging")):
            raise PersonascopeError(f"{address}: a lake, which holds its runs in another way than a bucket; expected a folder of its own for the bucket")
        if root.exists() and not root.is_dir():
            raise PersonascopeError(f"{address}: is there and is no folder; expected a folder as the bucket")

    def entries(self) -> dict[str, int]:
        """Bytes by key of everything under `runs/`; links, which may lead elsewhere, are no objects."""
        found = {}
        with self._told("read"):
            for run in self._inside(self.root / "runs"):
                if run.is_dir(follow_symlinks=False):
                    for file in self._inside(Path(run.path)):
                        if file.is_file(follow_symlinks=False):
                            found[f"runs/{run.name}/{file.name}"] = file.stat(follow_symlinks=False).st_size
        return found

    @staticmethod
    def _inside(folder: Path) -> Iterator[os.DirEntry[str]]:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))

    def read(self, key: str, most: int) -> tuple[bytes, str] | None:
        """An object and the hash of its bytes; None where there is none."""
        try:
            with self.open(key) as source:
                content = source.read(most + 1)
        except FileNotFoundError:
            return None
        if len(content) > most:
            raise PersonascopeError(f"{self.address}: {key} takes more than {most:,} bytes")
        return content, _version(content)

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """A file of the bucket itself; links are not followed. Raises FileNotFoundError."""
        with open_itself(self.root / key, f"{self.address}: {key}") as source:
            yield source

    def send(self, source: BinaryIO, key: str, watch: Watch) -> None:
        """A copy under a name of its own, put in place by one rename when all of it is on the disk."""
        with self._told("written"), self._made(key) as (out, making):
            while block := source.read(BLOCK):
                out.write(block)
                watch(len(block))
            self._sync(out)
            making.replace(self.root / key)

    def commit(self, changes: Sequence[Change]) -> list[bool]:
        """Each object in its place, unless another stands there than the one that was read."""
        if not (self.root / BUCKET_MARK).exists():
            self._commit(Change(BUCKET_MARK, MARK, None))
        return [self._commit(change) for change in changes]

    def _commit(self, change: Change) -> bool:
        place = self.root / change.key
        with self._told("written"), self._made(change.key) as (out, making):
            out.write(change.content)
            self._sync(out)
            if change.over is None:
                with suppress(OSError):  # where the file system has no links
                    try:
                        place.hardlink_to(making)
                    except FileExistsError:
                        return False
                    return True
            with (place.parent / ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                there = self.read(change.key, 1 << 30)
                if (there[1] if there is not None else None) != change.over:
                    return False
                making.replace(place)
                return True

    def remove(self, keys: Iterable[str]) -> None:
        """Removes files."""
        with self._told("written"):
            for key in keys:
                (self.root / key).unlink(missing_ok=True)

    @contextmanager
    def _made(self, key: str) -> Iterator[tuple[BinaryIO, Path]]:
        """A file in the making beside the object it becomes."""
        place = self.root / key
        place.parent.mkdir(parents=True, exist_ok=True)
        making = place.with_name(f".{place.name}.{uuid4().hex[:8]}")
        try:
            with making.open("xb") as out:
                yield out, making
        finally:
            making.unlink(missing_ok=True)

    @staticmethod
    def _sync(out: BinaryIO) -> None:
        out.flush()
        os.fsync(out.fileno())

    @contextmanager
    def _told(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = "the disk is full" if is_disk_full(error) else error.strerror or str(error)
            raise PersonascopeError(f"{self.address}: cannot be {verb} ({reason}); what is committed there stays, and the same command goes on") from error


@contextmanager
def open_itself(path: Path, what: str) -> Iterator[BinaryIO]:
    """A regular file to read, and not what a link of its name leads to. Raises FileNotFoundError, and DamagedError for anything else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(f"{what} cannot be read ({error.strerror})") from error
    with os.fdopen(handle, "rb") as source:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise DamagedError(f"{what} is no regular file")
        yield source


def _version(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
