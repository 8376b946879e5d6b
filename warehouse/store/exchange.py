"""Puts a finished folder in the place of another in one step where the system can, and in two with a way back where it cannot."""

import ctypes
import errno
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNABLE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}  # an old kernel, or a file system that has no exchange (NFS, some FUSE)


def replace_folder(new: Path, old: Path, aside: Path) -> None:
    """`new` stands where `old` stood; what `old` held lies in `new` or `aside` then, as litter.

    One step on Linux (renameat2 with RENAME_EXCHANGE), so that a reader or a kill never finds nothing. Elsewhere `old` steps `aside` first: a kill between the
    two renames leaves it there, to be brought back. Raises OSError.
    """
    if not _exchange(new, old):
        old.rename(aside)
        new.rename(old)


def _exchange(first: Path, second: Path) -> bool:
    """Whether the two paths were exchanged; False where the system cannot."""
    rename = _renameat2()
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNABLE:
        return False
    raise OSError(code, os.strerror(code), str(second))


@cache
def _renameat2() -> Any:
    """The function of the C library (glibc from 2.28, musl from 1.2.4); None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return function
