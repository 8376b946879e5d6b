"""Finds the files under the paths typed: folders recursively in name order, hidden entries left out, no folder read twice."""

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from personascope.ingest.published.report import FileOutcome


def walk(paths: Iterable[Path | str]) -> Iterator[Path | FileOutcome]:
    """Regular files as typed (relative paths stay relative), and an outcome for every path that leads to none."""
    for path in map(Path, paths):
        found = False
        for entry in _entries(path, set()):
            found = True
            yield entry
        if not found:
            yield FileOutcome(str(path), "failed", reason="the folder holds no files; expected published result files")


def _entries(path: Path, seen: set[tuple[int, int]]) -> Iterator[Path | FileOutcome]:
    """`seen` holds the folders read so far by device and inode: a link that leads back to one ends there."""
    try:
        status = path.stat()
        folder = stat.S_ISDIR(status.st_mode)
        children = sorted(child for child in path.iterdir() if not child.name.startswith(".")) if folder else []
    except OSError as error:
        yield FileOutcome(str(path), "failed", reason=f"cannot be read: {error.strerror or error}; expected a file or folder")
        return
    if not folder:
        yield path if stat.S_ISREG(status.st_mode) else FileOutcome(str(path), "skipped", reason="not a regular file")
        return
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        yield FileOutcome(str(path), "skipped", reason="a link to a folder that is read already")
        return
    seen.add(identity)
    for child in children:
        yield from _entries(child, seen)
