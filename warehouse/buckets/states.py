"""What a bucket says of each run, in one object: it is there, by its manifest, or it was deleted. So a run goes from one to the other in one step.

    runs/RUN/run.json             the manifest as the lake holds it; or {"run_id": …, "deleted": …, "tables": …}
    runs/RUN/TABLE-HASH.parquet   a table, under the hash that the manifest gives it: no two contents meet under one name

What the manifest does not name is not read: what a killed push sent, and what was replaced.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, ValidationError

from personascope.warehouse.buckets.bucket import Bucket
from personascope.warehouse.documents import parse_json
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.settings import first_sentence
from personascope.warehouse.store.manifest import MANIFEST, Manifest
from personascope.warehouse.store.soundness import LARGEST_MANIFEST, is_name

READERS = 16
_HASH = re.compile(r"[0-9a-f]{32}")
_TABLE = re.compile(r"[A-Za-z]\w*", re.ASCII)


class Tombstone(BaseModel):
    """What stands in the place of the manifest of a run that was deleted: when, and which tables it had, by their hashes."""

    run_id: str
    deleted: datetime
    tables: dict[str, str]

    @classmethod
    def of(cls, manifest: Manifest) -> "Tombstone":
        """The one of a run that is deleted now."""
        return cls(run_id=manifest.run_id, deleted=datetime.now(UTC).replace(microsecond=0), tables=manifest.hashes)


@dataclass(frozen=True)
class State:
    """What the bucket says of a run: its manifest, or that it was deleted; `content` is the object and `version` what a change must be made over."""

    said: Manifest | Tombstone
    content: bytes
    version: str

    @property
    def manifest(self) -> Manifest | None:
        """None for a run that was deleted."""
        return self.said if isinstance(self.said, Manifest) else None


@dataclass(frozen=True)
class Look:
    """A bucket as it was looked at: the state of each run by name, what is none and why, and the bytes of every object by key."""

    states: dict[str, State]
    strays: dict[str, str]
    entries: dict[str, int]

    @property
    def runs(self) -> dict[str, Manifest]:
        """The runs that are there."""
        return {run_id: state.manifest for run_id, state in self.states.items() if state.manifest is not None}

    def of(self, run_id: str) -> dict[str, int]:
        """The objects of a run."""
        return {key: size for key, size in self.entries.items() if key.startswith(f"runs/{run_id}/")}


def state_key(run_id: str) -> str:
    """The object that holds the state of a run."""
    return f"runs/{run_id}/{MANIFEST}"


def table_keys(manifest: Manifest) -> dict[str, str]:
    """By name of a table the object that holds it."""
    return {name: f"runs/{manifest.run_id}/{name}-{each.blake2}.parquet" for name, each in manifest.tables.items()}


def look(bucket: Bucket) -> Look:
    """Reads the state of every run of a bucket; nothing where there is nothing."""
    entries = bucket.entries()
    named = [parts[1] for key in sorted(entries) if len(parts := key.split("/")) == 3 and parts[2] == MANIFEST]
    with ThreadPoolExecutor(READERS) as pool:
        found = dict(zip(named, pool.map(lambda run_id: _state(bucket, run_id), named), strict=True))
    return Look(
        {run_id: each for run_id, each in found.items() if isinstance(each, State)},
        {run_id: each for run_id, each in found.items() if isinstance(each, str)},
        entries,
    )


def read_state(bucket: Bucket, run_id: str) -> State | None:
    """The state of one run now; None where the bucket knows none, or holds what cannot be read as one."""
    found = _state(bucket, run_id)
    return found if isinstance(found, State) else None


def _state(bucket: Bucket, run_id: str) -> State | str | None:
    """The state of a run, or why what stands there is none: anything may be in a bucket of a stranger."""
    if not is_name(run_id):
        return "its name cannot be that of a run's folder"
    try:
        if (found := bucket.read(state_key(run_id), LARGEST_MANIFEST)) is None:
            return None
        content, version = found
        document = parse_json(content)
        said = Tombstone.model_validate(document) if isinstance(document, dict) and "deleted" in document else Manifest.model_validate_json(content)
    except ValidationError as error:
        return f"its {MANIFEST} is damaged ({first_sentence(error, Manifest)})"
    except (PersonascopeError, ValueError) as error:
        return f"its {MANIFEST} is damaged ({one_line(error)})"
    if said.run_id != run_id:
        return f"its {MANIFEST} is that of {said.run_id[:80]!r}"
    if isinstance(said, Manifest):
        bad = next((name for name, each in said.tables.items() if not _TABLE.fullmatch(name) or not _HASH.fullmatch(each.blake2) or each.bytes < 0), None)
        if bad is not None:
            return f"its {MANIFEST} lists a table {bad[:80]!r}; expected a name of letters, digits and _, with its hash and size"
    return State(said, content, version)


def tombstone(manifest: Manifest) -> bytes:
    """The object that says of a run that it was deleted."""
    return (json.dumps(Tombstone.of(manifest).model_dump(mode="json"), indent=1) + "\n").encode()
