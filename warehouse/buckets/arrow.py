"""A bucket whose objects pyarrow lists, sends, reads and removes; how a small one is committed is the business of each kind."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

from personascope.warehouse.buckets.bucket import Watch
from personascope.warehouse.errors import PersonascopeError, one_line

BLOCK = 8 << 20
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")


class ArrowBucket:
    """Objects below `SCHEME://BUCKET/PATH` over a file system of pyarrow; `trouble` ends the sentence about a place that does not answer."""

    at_once, batch = 8, 1
    notice: str | None = None
    trouble = ""

    def __init__(self, address: str, scheme: str) -> None:
        bucket, _, path = address.removeprefix(scheme).partition("/")
        path = path.strip("/")
        if not _BUCKET.fullmatch(bucket) or any(part in ("", ".", "..") for part in path.split("/") if path):
            raise PersonascopeError(f"{address}: expected {scheme}BUCKET/PATH with the name of a bucket and a path without empty parts")
        self.address = f"{scheme}{bucket}/{path}" if path else f"{scheme}{bucket}"
        self._prefix = f"{bucket}/{path}" if path else bucket
        self._bucket, self._path = bucket, path
        self._fs: Any = None

    def entries(self) -> dict[str, int]:
        """Bytes by key of everything under `runs/`."""
        from pyarrow import fs

        with self._told("read"):
            try:
                found = self._fs.get_file_info(fs.FileSelector(f"{self._prefix}/runs", recursive=True, allow_not_found=True))
            except FileNotFoundError:
                return {}
        return {each.path.removeprefix(f"{self._prefix}/"): each.size for each in found if each.type == fs.FileType.File}

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """An object, read as it comes. Raises FileNotFoundError."""
        with self._told("read"), self._fs.open_input_stream(f"{self._prefix}/{key}") as source:
            yield cast(BinaryIO, source)

    def send(self, source: BinaryIO, key: str, watch: Watch) -> None:
        """An object in parts that the server joins at the end. pyarrow joins those of a broken transfer, too: that one is removed, and its size tells it."""
        with self._told("written"):
            try:
                with self._fs.open_output_stream(f"{self._prefix}/{key}") as out:
                    while block := source.read(BLOCK):
                        watch(len(block))
                        out.write(block)
            except FileNotFoundError as error:
                raise PersonascopeError(f"{self.address}: cannot be written (there is no such bucket); {self.trouble}") from error
            except BaseException:
                with suppress(OSError):
                    self._fs.delete_file(f"{self._prefix}/{key}")
                raise

    def remove(self, keys: Iterable[str]) -> None:
        """Removes objects."""
        with self._told("written"):
            for key in keys:
                with suppress(FileNotFoundError):
                    self._fs.delete_file(f"{self._prefix}/{key}")

    @contextmanager
    def _told(self, verb: str) -> Iterator[None]:
        """What the server or the network refuses as one sentence."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise PersonascopeError(f"{self.address}: cannot be {verb} ({one_line(error)}); {self.trouble}") from error
