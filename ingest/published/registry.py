"""Loads published files: each is recognised by content by one module of this package and becomes a run named after its content."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from personascope.ingest import published as package
from personascope.ingest.published.document import Document
from personascope.ingest.published.infinities import infinities
from personascope.ingest.published.record import OtherExperimentError, Record
from personascope.ingest.published.report import FileOutcome, Report
from personascope.ingest.published.walk import walk
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.modules import offering
from personascope.warehouse.pointers import refuse_pointer
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.hashing import file_hash, stable_hash
from personascope.warehouse.store.lake import PATIENCE, Lake
from personascope.warehouse.store.manifest import Manifest, RunSpec
from personascope.warehouse.store.schema import table
from personascope.warehouse.store.writer import conform

EXTRACTOR = "published"
SIZE_LIMIT = 2**30
REFUSED = {".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"}

Progress = Callable[[FileOutcome, int], None]


class Recogniser(Protocol):
    """A module of this package that knows one family of files."""

    __name__: str
    VERSION: int

    def recognise(self, document: Document) -> list[Record]: ...


def recognisers() -> dict[str, Recogniser]:
    """Every module of the package that has a function `recognise`, by module name."""
    return offering(package, "recognise")


def ingest_published(lake: Lake, paths: Sequence[Path | str], progress: Progress | None = None) -> Report:
    """Loads every file under `paths` that a recogniser knows; content that is in the lake already adds nothing, under whatever name it comes.

    A malformed file costs that file only: its outcome says why, and `Report.failed` is true. `progress` is called after each file with its outcome and the
    number of files in all. Raises PersonascopeError where the lake itself fails (full disk, damaged run).
    """
    found = list(walk(paths))
    loader = _Loader(lake)
    outcomes = []
    for entry in found:
        outcomes.append(entry if isinstance(entry, FileOutcome) else loader.load(entry))
        if progress is not None:
            progress(outcomes[-1], len(found))
    return Report(tuple(outcomes))


class _Loader:
    """Holds what the lake knows of published content while files come in."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._recognisers = recognisers()
        self._known: dict[str, dict[str, Manifest]] = {}  # content -> runs by id
        for run_id in lake.run_ids():
            if run_id.startswith(f"{EXTRACTOR}-"):
                self._remember(lake.manifest(run_id))

    def load(self, path: Path) -> FileOutcome:
        """Reads, recognises and loads one file; nothing of it is loaded when any of it is malformed."""
        source = str(path)
        try:
            refuse_pointer(path)
            content = _content_hash(path)
            if (run := self._current(content)) is not None:
                return _already_there(source, [run])
            document = Document(source, path.read_bytes())
            if document.is_binary:
                return FileOutcome(source, "skipped", reason="binary content; published files are text")
            name, records = self._recognise(document)
            for record in records:
                _check(record)
        except OtherExperimentError as error:
            return FileOutcome(source, "skipped", reason=_one_line(error))
        except PersonascopeError as error:
            return FileOutcome(source, "failed", reason=_one_line(error))
        except OSError as error:
            return FileOutcome(source, "failed", reason=f"cannot be read: {error.strerror or error}")
        if not records:
            return FileOutcome(source, "skipped", reason=_one_line(f"no recogniser knows its content: {document.describe()}"))
        outcome = self._write(source, content, name, records)
        return replace(outcome, notes=(*outcome.notes, *infinities(document))) if outcome.nan_to_null else outcome

    def _recognise(self, document: Document) -> tuple[str, list[Record]]:
        """The records of the file and the module that knows it; raises PersonascopeError when two modules claim it."""
        if not document.text.strip():
            if document.name.suffix.lower() == ".json":
                raise PersonascopeError("the file is empty; expected JSON")
            return "", []
        try:
            claims = {name: records for name, module in self._recognisers.items() if (records := module.recognise(document))}
        except RecursionError:
            raise PersonascopeError("nested too deeply; expected at most some hundred levels") from None
        if len(claims) > 1:
            raise PersonascopeError(f"recognised by more than one module: {', '.join(claims)}; expected one")
        name, records = next(iter(claims.items()), ("", []))
        if len(records) > 1 and any(record.identity is None for record in records):
            raise ValueError(f"{name} gave {len(records)} records of one file; expected an identity for each")
        return name, records

    def _write(self, source: str, content: str, name: str, records: list[Record]) -> FileOutcome:
        loaded: list[Manifest] = []
        present: list[Manifest] = []
        for record in records:
            key = content if record.identity is None else stable_hash(record.identity, size=16)
            if (run := self._current(key)) is not None:
                present.append(run)
                continue
            spec = _spec(record, key, name, self._recognisers[name].VERSION, source)
            writer = self._lake.start(spec, patience=PATIENCE)
            if writer is None:
                present.append(self._lake.manifest(spec.run_id))
                continue
            with writer:
                if "rows" not in writer.done:
                    writer.write_part("rows", record.rows)
                loaded.append(writer.commit())
            self._supersede(key, loaded[-1])
        if not loaded:
            return _already_there(source, present)
        rows: dict[str, int] = {}
        for manifest in loaded:
            for table_name, file in manifest.tables.items():
                rows[table_name] = rows.get(table_name, 0) + file.rows
        return FileOutcome(
            source,
            "loaded",
            kind=_kinds(loaded),
            rows=rows,
            notes=tuple(dict.fromkeys(note for record in records for note in record.notes)),
            nan_to_null=sum(sum(manifest.nan_to_null.values()) for manifest in loaded),
            runs=tuple(manifest.run_id for manifest in loaded),
        )

    def _current(self, content: str) -> Manifest | None:
        """The run that holds this content as the present version of its recogniser reads it."""
        for run in self._known.get(content, {}).values():
            module = self._recognisers.get(_parameter(run, "recogniser"))
            if module is not None and run.version == module.VERSION:
                return run
        return None

    def _supersede(self, content: str, manifest: Manifest) -> None:
        """Removes runs of the same content written by another version of a recogniser, so that no row stands twice."""
        for run_id in self._known.pop(content, {}):
            self._lake.delete(run_id)
        self._remember(manifest)

    def _remember(self, manifest: Manifest) -> None:
        self._known.setdefault(manifest.identity["content"], {})[manifest.run_id] = manifest


def _spec(record: Record, content: str, recogniser: str, version: int, source: str) -> RunSpec:
    settings = {"recogniser": recogniser, "record": record.kind, "content": content, **record.parameters}
    spec = RunSpec(
        kind="ingest",
        extractor=EXTRACTOR,
        version=version,
        identity={"content": content, "recogniser": recogniser},
        checkpoint=record.checkpoint,
        subject=record.subject,
        prompt_set=record.prompt_set,
        prompt_set_hash=record.prompt_set_hash,
        parameters=[Parameter(name="source_file", value=source, origin="command line")]
        + [Parameter(name=name, value=value) for name, value in settings.items()],
    )
    # Positions of a published record refer to completions of the same run.
    return spec.model_copy(update={"constants": {"record": record.kind, "source_file": source, "tokens_run": spec.run_id}})


def _content_hash(path: Path) -> str:
    """Digest of the bytes; raises PersonascopeError for a file that is refused unread (by name or size)."""
    if path.suffix.lower() in REFUSED:
        raise PersonascopeError(f"{path.suffix.lower()} files are refused unread, since reading one can run code; expected JSON, CSV or Markdown")
    size = path.stat().st_size
    if size > SIZE_LIMIT:
        raise PersonascopeError(f"the file has {size / 2**30:.2f} GiB; expected at most {SIZE_LIMIT / 2**30:g} GiB")
    return file_hash(path)


def _check(record: Record) -> None:
    """Raises PersonascopeError where the rows do not fit their tables, before anything is staged."""
    for name, rows in record.rows.items():
        try:
            conform(table(name), rows, {})
        except (OverflowError, UnicodeEncodeError) as error:
            raise PersonascopeError(f"a value does not fit table {name}: {error}") from error


def _one_line(sentence: object) -> str:
    """Keys and values of a file may hold line breaks; the sentence about them does not."""
    return " ".join(str(sentence).split())


def _already_there(source: str, runs: list[Manifest]) -> FileOutcome:
    first = _parameter(runs[0], "source_file")
    others = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    return FileOutcome(
        source,
        "already there",
        kind=_kinds(runs),
        reason=f"the same content is run {runs[0].run_id}{others}, from {first}",
        runs=tuple(run.run_id for run in runs),
    )


def _kinds(runs: list[Manifest]) -> str:
    return ", ".join(dict.fromkeys(_parameter(run, "record") for run in runs))


def _parameter(run: Manifest, name: str) -> str:
    return next((str(parameter.value) for parameter in run.parameters if parameter.name == name), "")
