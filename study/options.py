"""What the command line decides about a study: other checkpoints, settings, the device, and how it is tracked."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personascope.extract.weights.sharding import Sharding
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import Parameter, nearest
from personascope.warehouse.studies.model import CheckpointSource, StudyFile

_TYPED = re.compile(r"(?P<name>[^=]+)=(?P<reference>.+?)(?:\s+as\s+(?P<called>\S+))?")


class TypedCheckpoint(CheckpointSource):
    """A checkpoint typed in place of one of the study file: where nothing is typed as `called`, its rows bear the model's own name."""


@dataclass(frozen=True)
class RunOptions:
    """None and empty mean: as the study file says, or the best there is."""

    checkpoints: dict[str, CheckpointSource] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    device: str | None = None
    dtype: str | None = None
    attention: str = "sdpa"
    sharding: Sharding | None = None
    date: Parameter | None = None
    seed: int | None = None
    batch_tokens: int = 8192
    workers: int | None = None
    track: bool = True
    tracking_uri: str | None = None
    experiment: str | None = None
    force: bool = False


def say(line: str) -> None:
    """Talk goes to stderr; stdout is data."""
    print(line, file=sys.stderr, flush=True)


def parse_checkpoints(assignments: list[str], study: StudyFile, bases: list[str] | None = None) -> dict[str, CheckpointSource]:
    """`NAME=ID[@REVISION] [as NEWNAME]` as typed, in place of the checkpoint of that name in the study file; `bases` are the base models of adapters.

    Its part in the study (persona, parent, the word for its family) stays; whether it is a base or an instruct model is what it is itself.
    """
    sources: dict[str, CheckpointSource] = {}
    for assignment in assignments:
        typed = _TYPED.fullmatch(assignment.strip())
        if typed is None:
            raise PersonascopeError(f"--checkpoint {assignment!r}: expected NAME=ID, NAME=ID@REVISION or 'NAME=ID as NEWNAME'")
        name, reference = typed["name"].strip(), typed["reference"].strip()
        if name not in study.checkpoints:
            raise PersonascopeError(f"--checkpoint {name!r} is not one of study {study.name}; {nearest(name, study.checkpoints)}")
        identifier, _, revision = (reference, "", "") if Path(reference).expanduser().exists() else reference.partition("@")
        replaced = study.checkpoints[name]
        part = replaced.model_dump(include={"family", "source_persona", "parent", "load_in", *(("variant",) if replaced.source_persona else ())})
        sources[name] = TypedCheckpoint(id=identifier, revision=revision or None, called=typed["called"], **part)
    for assignment in bases or []:
        name, equals, base = assignment.partition("=")
        if not equals or not base:
            raise PersonascopeError(f"--base {assignment!r}: expected NAME=ID or NAME=ID@REVISION, the base model of the adapter that the study calls NAME")
        if name not in study.checkpoints:
            raise PersonascopeError(f"--base {name!r} is not one of study {study.name}; {nearest(name, study.checkpoints)}")
        sources[name] = sources.get(name, study.checkpoints[name]).model_copy(update={"base": base})
    return sources
