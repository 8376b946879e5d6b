"""Recognises what stands in place of a file: the few lines that git leaves where git-lfs keeps it elsewhere, a pipe, a device."""

import stat
from collections.abc import Iterable
from pathlib import Path

from personascope.warehouse.errors import PersonascopeError

_BEGINNING = b"version https://git-lfs.github.com/spec/"
_LARGEST = 1024  # bytes of a pointer, by the specification of git-lfs


def refuse_pointer(path: Path) -> None:
    """Raises PersonascopeError where `path` is a git-lfs pointer, or a pipe or device, which would be waited for or never ends.

    Whatever cannot be read is left to whoever reads the file.
    """
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise PersonascopeError(f"{path} is a pipe, a socket or a device; expected a file")
        if status.st_size >= _LARGEST:
            return
        with path.open("rb") as file:
            found = file.read(len(_BEGINNING))
    except OSError:
        return
    if found == _BEGINNING:
        raise PersonascopeError(f"{path} is a git-lfs pointer, not the file: run git lfs pull")


def refuse_pointers(paths: Iterable[Path]) -> None:
    """`refuse_pointer` for each of them, in turn."""
    for path in paths:
        refuse_pointer(path)
