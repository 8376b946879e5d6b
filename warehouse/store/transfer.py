"""Carries runs between lakes: written into one tar file, the same bytes for the same runs, and read from it without ever following a path that it names."""

import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from pydantic import BaseModel, Field, ValidationError

from personascope.warehouse.documents import parse_json
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.settings import first_sentence
from personascope.warehouse.store import notes
from personascope.warehouse.store.committed import read_manifest, why_damaged
from personascope.warehouse.store.hashing import digest
from personascope.warehouse.store.kept import trained_name
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.locks import LOOKING, await_lock
from personascope.warehouse.store.manifest import MADE_OF_THE_MANIFEST, MANIFEST, Manifest
from personascope.warehouse.store.rollups import differing
from personascope.warehouse.store.scratch import scratch
from personascope.warehouse.store.soundness import LARGEST_MANIFEST, is_name, why_unsound
from personascope.warehouse.store.staging import discard, disk_errors, publish, sync

INDEX = "personascope-runs.json"
FORMAT = 1
LARGEST_INDEX = 64 << 20  # bytes
BLOCK = 1 << 20
LONGEST_NAME = 100  # bytes of a member's name in a tar header without extensions
_NOTES = "notes.json"  # what people wrote about a run, which is no file of it in a lake
_FILE = re.compile(r"[A-Za-z]\w*\.parquet|run\.json|notes\.json")
_EXPECTED = "expected a file that `personascope runs export` wrote"


class Sealed(BaseModel):
    """A file of a run: how large it is, and the blake2b of its bytes."""

    bytes: int = Field(ge=0)
    blake2: str


class Index(BaseModel):
    """The first member: every file of every run, in the order in which they follow; a run stands behind those it was made of."""

    format: int
    runs: dict[str, dict[str, Sealed]]


@dataclass(frozen=True)
class Imported:
    """What came of a file: the runs that are new in the lake, and those that were there with the same content."""

    new: list[str]
    known: list[str]


def with_inputs(lake: Lake, run_ids: list[str]) -> list[str]:
    """The runs and what they were made of, as far as the lake holds it: input runs, trainings and records of their checkpoints, prompt sets; inputs first."""
    runs = lake.contents().runs
    if gone := next((run_id for run_id in run_ids if run_id not in runs), None):
        raise PersonascopeError(f"run {gone}: not in the lake {lake.root} any more; was it deleted meanwhile?")
    return inputs_first(runs, run_ids)


def inputs_first(runs: Mapping[str, Manifest], run_ids: Iterable[str]) -> list[str]:
    """Some of `runs` and what they were made of, as far as it is among them, each behind what it was made of."""
    makers = _makers(runs)
    ordered: list[str] = []
    entered: set[str] = set()
    for run_id in sorted(run_ids):
        stack = [run_id] if run_id not in entered else []
        entered.update(stack)
        while stack:  # runs of one checkpoint may name each other
            following = next((each for each in _needed(runs[stack[-1]], runs, makers) if each not in entered), None)
            if following is None:
                ordered.append(stack.pop())
            else:
                entered.add(following)
                stack.append(following)
    return ordered


def _makers(runs: Mapping[str, Manifest]) -> dict[tuple[str, str], list[str]]:
    """Runs that made or recorded a checkpoint, and those that brought a prompt set in, by its name and hash."""
    found: dict[tuple[str, str], list[str]] = {}
    for run_id, run in runs.items():
        if run.kind in ("ingest", "train") and run.checkpoint is not None and "checkpoints" in run.tables:
            found.setdefault(("checkpoint", run.checkpoint), []).append(run_id)
        if run.kind == "ingest" and run.prompt_set_hash is not None:
            found.setdefault(("prompts", run.prompt_set_hash), []).append(run_id)
    return found


def _needed(run: Manifest, runs: Mapping[str, Manifest], makers: dict[tuple[str, str], list[str]]) -> list[str]:
    """The runs of the lake that one was made of directly."""
    found = {each for each in run.inputs if each in runs}
    for name in {run.checkpoint or "", trained_name(run.checkpoint or "")}:
        found.update(makers.get(("checkpoint", name), []))
    found.update(makers.get(("prompts", run.prompt_set_hash or ""), []))
    return sorted(found)


def export(lake: Lake, run_ids: list[str], file: Path) -> int:
    """Writes committed runs, in the order given, into a tar file, put in place by one rename; returns its bytes.

    Raises PersonascopeError for a file that is not the one that was committed, a run that goes meanwhile, and a place that cannot be written.
    """
    making = file.with_name(f".{file.name}.{uuid4().hex[:8]}")
    if file.exists() and not file.is_file():
        raise PersonascopeError(f"{file}: is there and is no file; expected a file to write")
    try:
        with making.open("xb") as out:
            _write_tar(lake, run_ids, out)
            out.flush()
            os.fsync(out.fileno())
        making.replace(file)
    except OSError as error:
        raise PersonascopeError(f"{file}: cannot be written ({error.strerror or error}); expected a file in a folder that is there and has room") from error
    finally:
        with suppress(OSError):  # where the folder is not there
            making.unlink()
    return file.stat().st_size


def _write_tar(lake: Lake, run_ids: list[str], out: BinaryIO) -> None:
    written = {run_id: found.file().encode() for run_id in run_ids if (found := notes.of_run(lake, run_id)) != notes.Notes()}
    noted = {run_id: {_NOTES: _sealed(content)} for run_id, content in written.items()}
    index = Index(format=FORMAT, runs={run_id: dict(sorted((_seal(lake, run_id) | noted.get(run_id, {})).items())) for run_id in run_ids})
    _write_header(out, INDEX, len(text := _canonical(index)))
    _write_padded(out, text)
    for run_id, files in index.runs.items():
        with _opened(lake, run_id) as folder:
            for name, sealed in files.items():
                _write_header(out, f"{run_id}/{name}", sealed.bytes)
                if name == _NOTES:
                    _write_padded(out, written[run_id])
                    continue
                hashed = digest()
                with _within(folder, run_id, name) as source:
                    while block := source.read(BLOCK):
                        hashed.update(block)
                        out.write(block)
                    n_bytes = source.tell()
                if (n_bytes, hashed.hexdigest()) != (sealed.bytes, sealed.blake2):
                    raise PersonascopeError(f"run {run_id}: {name} is not the file that was committed; `personascope doctor` says what is wrong with it")
                out.write(bytes(-n_bytes % tarfile.BLOCKSIZE))
    out.write(bytes(2 * tarfile.BLOCKSIZE))


def _seal(lake: Lake, run_id: str) -> dict[str, Sealed]:
    """Every file of a run: the tables as its manifest says, the manifest and what is made of it as they are."""
    manifest = lake.manifest(run_id)
    found = {f"{name}.parquet": Sealed(bytes=each.bytes, blake2=each.blake2) for name, each in manifest.tables.items()}
    with _opened(lake, run_id) as folder:
        for name in (MANIFEST, *(f"{table}.parquet" for table in MADE_OF_THE_MANIFEST)):
            with _within(folder, run_id, name) as source:
                found[name] = _sealed(source.read())
    return found


def _sealed(content: bytes) -> Sealed:
    hashed = digest()
    hashed.update(content)
    return Sealed(bytes=len(content), blake2=hashed.hexdigest())


@contextmanager
def _opened(lake: Lake, run_id: str) -> Iterator[int]:
    """The folder of a run, held: what is replaced or removed meanwhile is read as it was, or not at all."""
    try:
        folder = os.open(lake.run_folder(run_id), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise PersonascopeError(f"run {run_id}: cannot be read ({error.strerror}); was it deleted meanwhile?") from error
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _within(folder: int, run_id: str, name: str) -> Iterator[BinaryIO]:
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        raise PersonascopeError(f"run {run_id}: {name} cannot be read ({error.strerror}); was the run deleted or replaced meanwhile?") from error
    with os.fdopen(handle, "rb") as source:
        yield source


def _write_header(out: BinaryIO, name: str, size: int) -> None:
    """A tar header of a plain file of nobody and no time, so that the same runs are the same bytes."""
    if len(name.encode()) > LONGEST_NAME:
        raise PersonascopeError(f"{name}: longer than a tar file holds ({LONGEST_NAME} bytes)")
    member = tarfile.TarInfo(name)
    member.size = size
    out.write(member.tobuf(tarfile.GNU_FORMAT))  # which holds files of more than 8 GiB in a header of one block


def _write_padded(out: BinaryIO, content: bytes) -> None:
    out.write(content)
    out.write(bytes(-len(content) % tarfile.BLOCKSIZE))


def _canonical(index: Index) -> bytes:
    return (json.dumps(index.model_dump(), indent=1) + "\n").encode()


def import_runs(lake: Lake, file: Path) -> Imported:
    """Brings the runs of a file into the lake: all are unpacked beside the runs and looked at first, then each appears by one rename, inputs first.

    A run that is there with the same content is left as it is; its notes come with it, unless it has some here. Raises PersonascopeError, before any run
    appears, for a file that is no export, was cut off or changed, for a run that is not sound, and for one that the lake holds with another content.
    """
    if not file.is_file():
        raise PersonascopeError(f"{file}: {'no regular file' if file.exists() else 'not there'}; {_EXPECTED}")
    try:
        with file.open("rb") as source, disk_errors(f"import of {file}"), scratch(lake.staging_folder) as making:
            index = _unpack(source, file, making)
            held = lake.contents().runs
            known = [run_id for run_id in index.runs if _is_known(lake, held.get(run_id), making / run_id, file)]
            new = [run_id for run_id in index.runs if run_id not in known]
            for run_id in new:
                sync(making / run_id)
            imported = _put_in_place(lake, making, new, known)
            for run_id in index.runs:
                if (brought := _set_aside(making, run_id)).is_file():
                    notes.bring(lake, run_id, notes.parse(brought.read_bytes()))
            return imported
    except PermissionError as error:
        raise PersonascopeError(f"{file}: cannot be read ({error.strerror}); {_EXPECTED}") from error


def _put_in_place(lake: Lake, making: Path, new: list[str], known: list[str]) -> Imported:
    placed: list[str] = []
    for run_id in new:
        staging = lake.staging_folder / run_id
        with await_lock(staging, run_id, LOOKING):
            if lake.is_committed(run_id):  # another process was faster
                known.append(run_id)
            else:
                publish(making / run_id, lake.run_folder(run_id))
                placed.append(run_id)
            discard(staging)
    return Imported(placed, known)


def _unpack(source: BinaryIO, file: Path, making: Path) -> Index:
    """Writes the members into folders of our own naming, each with its hash checked, and looks at every run; returns what the file says of itself."""
    member = _next_header(source, file)
    if member is None or member.name != INDEX:
        raise PersonascopeError(f"{file}: begins with {_shown(member)}; {_EXPECTED}")
    index = _read_index(_content(source, member, file, LARGEST_INDEX), file)
    listed = sum(sealed.bytes for files in index.runs.values() for sealed in files.values())
    if listed > (there := os.fstat(source.fileno()).st_size):
        raise PersonascopeError(f"{file}: takes {there:,} bytes where its list has {listed:,}: it was cut off; {_EXPECTED}")
    for run_id, files in index.runs.items():
        folder = making / run_id
        folder.mkdir()
        for name, sealed in files.items():
            member = _next_header(source, file)
            if member is None or member.name != f"{run_id}/{name}":
                raise PersonascopeError(f"{file}: holds {_shown(member)} where its list has {run_id}/{name}; {_EXPECTED}")
            _write_member(source, member, sealed, _set_aside(making, run_id) if name == _NOTES else folder / name, file)
        if _NOTES in files:
            _look_at_notes(_set_aside(making, run_id), run_id, file)
        _look_at(folder, run_id, files, file)
    if (member := _next_header(source, file)) is not None:
        raise PersonascopeError(f"{file}: holds {_shown(member)}, which its list has not; {_EXPECTED}")
    return index


def _set_aside(making: Path, run_id: str) -> Path:
    """Where the notes of a run wait; no run is called so."""
    return making / f"~{run_id}.json"


def _look_at_notes(path: Path, run_id: str, file: Path) -> None:
    try:
        notes.parse(path.read_bytes())
    except PersonascopeError as error:
        raise PersonascopeError(f"{file}: run {run_id}: its {_NOTES} holds no notes ({error}); {_EXPECTED}") from error


def _next_header(source: BinaryIO, file: Path) -> tarfile.TarInfo | None:
    """The next member, a plain file with all of its header in one block; None at the end of the tar. Raises PersonascopeError for anything else."""
    block = source.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise PersonascopeError(f"{file}: was cut off; {_EXPECTED}")
    if not block.strip(b"\0"):
        return None
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise PersonascopeError(f"{file}: is no tar file, or was damaged ({one_line(error)}); {_EXPECTED}") from error
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.size < 0:
        raise PersonascopeError(f"{file}: {_shown(member)} is no plain file (type {member.type!r}); {_EXPECTED}")
    return member


def _shown(member: tarfile.TarInfo | None) -> str:
    return "nothing more" if member is None else repr(member.name[:LONGEST_NAME])


def _blocks(source: BinaryIO, member: tarfile.TarInfo, file: Path) -> Iterator[bytes]:
    """The bytes of a member; behind the last the file stands at the next header."""
    left = member.size
    while left:
        block = source.read(min(BLOCK, left))
        if not block:
            raise PersonascopeError(f"{file}: was cut off in {_shown(member)}; {_EXPECTED}")
        left -= len(block)
        yield block
    source.read(-member.size % tarfile.BLOCKSIZE)


def _content(source: BinaryIO, member: tarfile.TarInfo, file: Path, largest: int) -> bytes:
    if member.size > largest:
        raise PersonascopeError(f"{file}: {_shown(member)} takes {member.size:,} bytes; expected at most {largest:,}")
    return b"".join(_blocks(source, member, file))


def _read_index(content: bytes, file: Path) -> Index:
    try:
        index = Index.model_validate(parse_json(content))
    except PersonascopeError as error:
        raise PersonascopeError(f"{file}: its list of runs is {error}; {_EXPECTED}") from error
    except ValidationError as error:
        raise PersonascopeError(f"{file}: its list of runs is none ({first_sentence(error, Index)}); {_EXPECTED}") from error
    if index.format != FORMAT:
        raise PersonascopeError(f"{file}: is of format {index.format}, and this version reads {FORMAT}")
    for run_id, files in index.runs.items():
        if not is_name(run_id):
            raise PersonascopeError(f"{file}: lists a run {run_id[:LONGEST_NAME]!r}; expected a name that can be its folder's")
        if (bad := next((name for name in files if not _FILE.fullmatch(name)), None)) is not None:
            raise PersonascopeError(f"{file}: run {run_id} lists a file {bad[:LONGEST_NAME]!r}; expected {MANIFEST} and Parquet files named after tables")
        if files.get(MANIFEST, Sealed(bytes=0, blake2="")).bytes > LARGEST_MANIFEST:
            raise PersonascopeError(f"{file}: {MANIFEST} of run {run_id} takes more than {LARGEST_MANIFEST:,} bytes")
        if files.get(_NOTES, Sealed(bytes=0, blake2="")).bytes > notes.LARGEST:
            raise PersonascopeError(f"{file}: {_NOTES} of run {run_id} takes more than {notes.LARGEST:,} bytes")
    return index


def _write_member(source: BinaryIO, member: tarfile.TarInfo, sealed: Sealed, path: Path, file: Path) -> None:
    if member.size != sealed.bytes:
        raise PersonascopeError(f"{file}: {_shown(member)} takes {member.size:,} bytes; its list says {sealed.bytes:,}")
    hashed = digest()
    with path.open("xb") as out:
        for block in _blocks(source, member, file):
            hashed.update(block)
            out.write(block)
    if hashed.hexdigest() != sealed.blake2:
        raise PersonascopeError(f"{file}: {_shown(member)} is not what was exported (its hash is another); bring the file over anew")


def _look_at(folder: Path, run_id: str, files: dict[str, Sealed], file: Path) -> None:
    """Raises PersonascopeError unless the unpacked folder is the run it is listed as, sound, and made of what its manifest says."""
    try:
        manifest = read_manifest(folder / MANIFEST)
    except FileNotFoundError:
        raise PersonascopeError(f"{file}: run {run_id} has no {MANIFEST}; {_EXPECTED}") from None
    except (ValidationError, ValueError) as error:
        raise PersonascopeError(f"{file}: run {run_id}: its {MANIFEST} is damaged ({why_damaged(error)})") from error
    if manifest.run_id != run_id:
        raise PersonascopeError(f"{file}: run {run_id}: its {MANIFEST} is that of {manifest.run_id[:LONGEST_NAME]!r}")
    if reason := why_unsound(folder, manifest, thorough=True):
        raise PersonascopeError(f"{file}: run {run_id}: {reason}")
    for name, each in manifest.tables.items():
        if files.get(f"{name}.parquet") != Sealed(bytes=each.bytes, blake2=each.blake2):
            raise PersonascopeError(f"{file}: run {run_id}: {name}.parquet is not the file that its {MANIFEST} lists")


def _is_known(lake: Lake, held: Manifest | None, brought: Path, file: Path) -> bool:
    """Whether the lake holds the run with the same rows; raises PersonascopeError where it holds others under that name. Roll-ups follow from the rest."""
    run_id = brought.name
    if held is None:
        if os.path.lexists(place := lake.run_folder(run_id)):
            raise PersonascopeError(f"{file}: {place} is there and is no sound run; nothing was imported (`personascope doctor` says what it is)")
        return False
    if (name := differing(held.hashes, read_manifest(brought / MANIFEST).hashes)) is not None:
        raise PersonascopeError(
            f"{file}: run {run_id} is in {lake.root} with other rows in {name}; nothing was imported (`personascope runs delete {run_id}` first, "
            "where those of the file are wanted)"
        )
    return True
