"""Folders for files in the making: beside what they become, so that one rename puts them in place, and dropped when their process is gone."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

from personascope.warehouse.store.locks import host, is_locked, take_lock

SCRATCH = "scratch-"
_FORGOTTEN = 24 * 3600  # seconds; an unlocked folder of another machine, or of a number that another process bears by then
_OF_OLDER_VERSIONS = (".warehouse-*.duckdb*", "runs/_schema/schema.txt.*", "runs/_schema/.*.parquet.*")  # each with the number of its process


@contextmanager
def scratch(staging: Path) -> Iterator[Path]:
    """A locked folder under `staging` that is removed at the end; one of a killed process is dropped by `drop_scratch`. Raises OSError."""
    folder = Path(mkdtemp(prefix=_prefix(), dir=staging))
    lock = take_lock(folder, folder.name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def spill_folder(staging: Path) -> Path:
    """A folder that DuckDB makes where a query does not fit in memory, and removes; that of a killed process is dropped by `drop_scratch`."""
    return staging / f"{_prefix()}{uuid4().hex[:8]}"


def drop_scratch(root: Path) -> None:
    """Removes what dead processes left in the making in the lake at `root`, and nothing that a living one is at."""
    for folder in (root / "staging").glob(f"{SCRATCH}*"):
        of, _, process = folder.name.removeprefix(SCRATCH).rsplit("-", 1)[0].rpartition("-")
        with suppress(FileNotFoundError):  # where its process has just ended
            if folder.is_symlink():
                continue
            alive = of != host() or (process.isdigit() and _is_alive(int(process)))
            if (not alive or time.time() - folder.stat().st_mtime > _FORGOTTEN) and not is_locked(folder):
                shutil.rmtree(folder, ignore_errors=True)
    for pattern in _OF_OLDER_VERSIONS:
        for path in root.glob(pattern):
            numbers = [part for part in path.name.replace("-", ".").split(".") if part.isdigit()]
            if numbers and not _is_alive(int(numbers[-1])):
                path.unlink(missing_ok=True)


def _prefix() -> str:
    return f"{SCRATCH}{host()}-{os.getpid()}-"


def _is_alive(process: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
