"""Runs as they were met in a lake: what many questions need of each without its manifest, which is parsed when somebody asks for it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from personascope.warehouse.store.manifest import Manifest

_Key = tuple[tuple[str, str | None, tuple[str, ...]], ...]  # of each table, in the order of the manifest


@dataclass(frozen=True, eq=False)
class Form:
    """By name of each table of a run the definition of it, where it is a roll-up, and its columns. A lake of thousands of runs has a few dozen; each is equal
    to itself alone, so that runs are grouped fast."""

    definitions: Mapping[str, str | None]
    columns: Mapping[str, list[str]]


@lru_cache(maxsize=4096)
def form(key: _Key) -> Form:
    """The form of these tables, the same object for the same."""
    return Form({name: definition for name, definition, _ in key}, {name: list(columns) for name, _, columns in key})


def form_of(run: Manifest) -> Form:
    """The form of a run."""
    return form(tuple((name, file.definition, tuple(file.columns)) for name, file in run.tables.items()))


def state_of(run: Manifest) -> str:
    """Sixteen characters that change when a run is made anew or its roll-ups are renewed."""
    parts = [run.finished.isoformat(), *(file.blake2 for _, file in sorted(run.tables.items()))]
    return blake2b(" ".join(parts).encode(), digest_size=8).hexdigest()


class Met:
    """One run: its form, `rows` and `bytes` of each table of the form in its order, its state, and its manifest, which `read` gives once."""

    __slots__ = ("_manifest", "_read", "_state", "bytes", "form", "rows")

    def __init__(self, form: Form, rows: Sequence[int], bytes: Sequence[int], state: str | None, read: Callable[[], Manifest]) -> None:
        self.form, self.rows, self.bytes, self._state, self._read = form, rows, bytes, state, read
        self._manifest: Manifest | None = None

    @classmethod
    def of(cls, run: Manifest) -> "Met":
        """A run whose manifest is parsed."""
        files = run.tables.values()
        return cls(form_of(run), [file.rows for file in files], [file.bytes for file in files], None, lambda: run)

    @property
    def manifest(self) -> Manifest:
        """Raises PersonascopeError where it is gone."""
        if self._manifest is None:
            self._manifest = self._read()
        return self._manifest

    @property
    def state(self) -> str:
        """As `state_of` tells it."""
        if self._state is None:
            self._state = state_of(self.manifest)
        return self._state


class Runs(Mapping[str, Manifest]):
    """Manifests by the names of their runs, each parsed when it is asked for; `met`: the same runs without them."""

    def __init__(self, met: Mapping[str, Met]) -> None:
        self.met = met

    @classmethod
    def of(cls, runs: Mapping[str, Manifest]) -> "Runs":
        """Any manifests in this shape."""
        return runs if isinstance(runs, cls) else cls({run_id: Met.of(run) for run_id, run in runs.items()})

    def only(self, names: Iterable[str]) -> "Runs":
        """Some of the runs, in this order."""
        return Runs({run_id: self.met[run_id] for run_id in names})

    def __getitem__(self, run_id: str) -> Manifest:
        return self.met[run_id].manifest

    def __iter__(self) -> Iterator[str]:
        return iter(self.met)

    def __len__(self) -> int:
        return len(self.met)

    def __contains__(self, run_id: object) -> bool:
        return run_id in self.met
