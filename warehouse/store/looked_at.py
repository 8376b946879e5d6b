"""Which run folders were looked at and found sound, so that each is looked at once and not by every command."""

import contextlib
import os
import tempfile
from pathlib import Path

from personascope.warehouse.home import cache_root
from personascope.warehouse.store.hashing import stable_hash

KEPT = 100  # lakes that are remembered, those looked at last
FORGOTTEN = 1000  # runs that are there no more and that the file still names, of which it is freed
AT_ONCE = 8  # runs found sound anew that are worth a file: fewer are looked at again as fast

Mark = tuple[int, int]
_sound: dict[str, set[Mark]] = {}
_unsaved: dict[str, int] = {}


def mark_of(status: os.stat_result) -> Mark:
    """Inode and change time of a folder: another pair says that it is another folder, or that an entry came, went or was renamed."""
    return status.st_ino, status.st_ctime_ns


def remember(folder: Path) -> None:
    """A run that was put in its place by this program, which made or looked at its files, is looked at by no other process. It costs a line of a file."""
    with contextlib.suppress(OSError):
        place, (inode, changed) = str(folder.parent), mark_of(folder.lstat())
        _sound.get(place, set()).add((inode, changed))
        file = _file(place)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as known:
            known.write(f"{inode} {changed}\n")


class Looked:
    """The sound folders of one runs folder; `keep` remembers them in this process and, where they are many, in the user's cache folder for the next."""

    def __init__(self, runs_folder: Path) -> None:
        self._place = str(runs_folder)
        if self._place not in _sound:
            _sound[self._place] = _read(_file(self._place))
        self._known = _sound[self._place]
        self._met: set[Mark] = set()

    def __contains__(self, mark: object) -> bool:
        return mark in self._known

    def add(self, mark: Mark, worth: int = 1) -> None:
        """A folder is sound; looking at it again would cost as much as looking at `worth` runs."""
        self._met.add(mark)
        if mark not in self._known:
            self._known.add(mark)
            _unsaved[self._place] = _unsaved.get(self._place, 0) + worth

    def keep(self) -> None:
        """Remembers the folders that were added, and no others."""
        n_gone = len(self._known - self._met)
        self._known.intersection_update(self._met)
        if _unsaved.get(self._place, 0) >= AT_ONCE or n_gone > FORGOTTEN:
            _unsaved[self._place] = 0
            _write(_file(self._place), self._met)


def _file(place: str) -> Path:
    return cache_root() / "runs" / f"{stable_hash(place)}.txt"


def _read(file: Path) -> set[Mark]:
    """What a file names; nothing of one that is damaged but for its last line, which a process may be writing."""
    try:
        pairs = [line.split() for line in file.read_text().split("\n")[:-1]]
        return {(int(inode), int(changed)) for inode, changed in pairs}
    except (OSError, ValueError):
        return set()


def _write(file: Path, marks: set[Mark]) -> None:
    """By one rename, so that nobody reads half of it; without a cache folder that can be written nothing is remembered."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w") as making:
            making.writelines(f"{inode} {changed}\n" for inode, changed in sorted(marks))
        Path(name).replace(file)
        for old in sorted(file.parent.iterdir(), key=lambda each: each.stat().st_mtime)[:-KEPT]:
            old.unlink()
