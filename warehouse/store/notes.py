"""Tags and notes about runs: a small file for each run that has some, `notes/RUN.json` in the lake, beside the runs and part of none of them.

What a run is (its name, its files, their hashes) stays as it is. A note stays with its run when that is renewed or made again, travels with it in an exported
file (through a bucket it does not), and is removed with it.
"""

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personascope.warehouse.documents import parse_json
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.settings import first_sentence
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.locks import open_itself
from personascope.warehouse.store.scratch import scratch
from personascope.warehouse.store.soundness import is_name
from personascope.warehouse.store.staging import is_disk_full

FOLDER, ENDING = "notes", ".json"
MOST_TAGS, LONGEST_TAG, LONGEST_NOTE = 20, 40, 4_000  # of one run; characters
LARGEST = 64 << 10  # bytes of a file
LINKED = "a link, or not what it should be; expected a file of this lake itself"
_TAG = re.compile(r"\w[\w .:+=-]*(?<! )")


class Notes(BaseModel):
    """The tags of a run, in the order of the alphabet, and its note (empty: none)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tags: list[str] = Field(default_factory=list)
    note: str = ""

    def file(self) -> str:
        """The text of its file: the same for the same words."""
        return self.model_dump_json(indent=1) + "\n"


def parse(content: bytes) -> Notes:
    """The notes in a file's bytes; raises PersonascopeError that says in a few words why they are none."""
    if len(content) > LARGEST:
        raise PersonascopeError(f"it takes {len(content):,} bytes; expected at most {LARGEST:,}")
    try:
        found = Notes.model_validate(parse_json(content))
    except ValidationError as error:
        raise PersonascopeError(first_sentence(error, Notes)) from error
    return Notes(tags=checked_tags(found.tags), note=checked_note(found.note))


def checked_tags(tags: Iterable[str]) -> list[str]:
    """Tags without doubles, in the order of the alphabet; raises PersonascopeError for one that is none, or too many."""
    found = sorted({tag.strip() for tag in tags})
    for tag in found:
        if not _TAG.fullmatch(tag) or len(tag) > LONGEST_TAG:
            expected = f"1 to {LONGEST_TAG} letters, digits, blanks and . : + = - _, the first a letter, digit or _"
            raise PersonascopeError(f"tag {tag[: LONGEST_TAG + 1]!r}: expected {expected}")
    if len(found) > MOST_TAGS:
        raise PersonascopeError(f"{len(found)} tags: expected at most {MOST_TAGS} a run")
    return found


def checked_note(note: str) -> str:
    """A note without blanks around it; raises PersonascopeError for one that is too long or holds what is no text, such as characters that steer a terminal."""
    text = note.replace("\r\n", "\n").strip()
    if len(text) > LONGEST_NOTE:
        raise PersonascopeError(f"the note has {len(text):,} characters; expected at most {LONGEST_NOTE:,}")
    if bad := next((each for each in text if not each.isprintable() and each not in "\n\t"), None):
        raise PersonascopeError(f"the note holds the character U+{ord(bad):04X}, which is no text; expected letters, signs, tabs and line breaks")
    return text


def read(lake: Lake) -> dict[str, Notes]:
    """The notes of the committed runs by run; those of a run that is not there (made on another machine, or gone) wait for it and are left out."""
    return {run_id: found for run_id, found in _entries(lake) if isinstance(found, Notes) and lake.is_committed(run_id)}


def strays(lake: Lake) -> list[tuple[str, str]]:
    """What lies among the notes of a lake and is not read: its name, and why."""
    return [(name, found) for name, found in _entries(lake) if isinstance(found, str)]


def mark(lake: Lake) -> str:
    """Another one says that notes were written or removed."""
    try:
        return str((lake.root / FOLDER).lstat().st_mtime_ns)
    except OSError:
        return ""


def of_run(lake: Lake, run_id: str) -> Notes:
    """The notes of one run, empty where it has none or they cannot be read."""
    found = _read(_path(lake, run_id)) if _path(lake, run_id).exists() else None
    return found if isinstance(found, Notes) else Notes()


def write(lake: Lake, run_id: str, add: Iterable[str] = (), remove: Iterable[str] = (), note: str | None = None) -> Notes:
    """Adds and removes tags of a committed run, and sets its note (None: as it is; empty: none); gives what it has then.

    Written whole or not at all, one writer after another. Raises PersonascopeError for what is no tag or note, and where the lake cannot be written.
    """
    checked_tags(add)
    lake.manifest(run_id)
    with _writing(lake, run_id):
        old = of_run(lake, run_id)
        tags = checked_tags({*old.tags, *(tag.strip() for tag in add)} - {tag.strip() for tag in remove})
        new = Notes(tags=tags, note=old.note if note is None else checked_note(note))
        if new != old:
            _put(lake, run_id, new)
    return new


def bring(lake: Lake, run_id: str, brought: Notes) -> None:
    """Takes over notes that came with a run, unless it has its own here."""
    with _writing(lake, run_id):
        if not os.path.lexists(_path(lake, run_id)):
            _put(lake, run_id, brought)


def drop(lake: Lake, run_id: str) -> None:
    """Removes the notes of a run that goes; raises PersonascopeError where the lake cannot be written."""
    if os.path.lexists(_path(lake, run_id)):
        with _writing(lake, run_id):
            _path(lake, run_id).unlink(missing_ok=True)


def _put(lake: Lake, run_id: str, notes: Notes) -> None:
    path = _path(lake, run_id)
    if notes == Notes():
        path.unlink(missing_ok=True)
        return
    with scratch(lake.staging_folder) as making:
        made = making / path.name
        with made.open("w", encoding="utf-8") as file:
            file.write(notes.file())
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)


@contextmanager
def _writing(lake: Lake, run_id: str) -> Iterator[None]:
    """One writer at a time, who finds a folder of the lake itself; what the disk says comes as one sentence."""
    folder = lake.root / FOLDER
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise PersonascopeError(f"notes of run {run_id}: {folder} is {LINKED}")
        folder.mkdir(exist_ok=True)
        with open_itself(folder / ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        reason = "the disk is full" if is_disk_full(error) else error.strerror or one_line(error)
        raise PersonascopeError(f"notes of run {run_id}: cannot be written into {folder} ({reason}); expected a lake you may write to") from error


def _path(lake: Lake, run_id: str) -> Path:
    if not is_name(run_id):
        raise PersonascopeError(f"run {run_id!r}: not the name of a run; expected one that `personascope runs list` shows")
    return lake.root / FOLDER / f"{run_id}{ENDING}"


def _entries(lake: Lake) -> Iterator[tuple[str, Notes | str]]:
    """Every file among the notes in name order, by the run it is named after: what it holds, or why it is not read."""
    folder = lake.root / FOLDER
    if folder.is_symlink():
        yield FOLDER, LINKED
    elif folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix == ENDING and is_name(path.stem):
                yield path.stem, _read(path)
            elif not path.name.startswith("."):
                yield path.name, f"its name; expected RUN{ENDING}"


def _read(path: Path) -> Notes | str:
    if path.is_symlink() or not path.is_file():
        return LINKED
    try:
        with suppress(FileNotFoundError):
            if path.stat().st_size > LARGEST:
                return f"larger than {LARGEST:,} bytes"
            return parse(path.read_bytes())
        return "it has just gone"
    except (OSError, PersonascopeError) as error:
        return one_line(error)
