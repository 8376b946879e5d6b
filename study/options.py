"""What the command line decides about a study: other checkpoints, settings, the device, and how it is tracked."""

import sys
from dataclasses import dataclass, field
from typing import Any

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import Parameter, nearest
from personascope.warehouse.studies.model import CheckpointSource, StudyFile


@dataclass(frozen=True)
class RunOptions:
    """None and empty mean: as the study file says, or the best there is."""

    checkpoints: dict[str, CheckpointSource] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    device: str | None = None
    dtype: str | None = None
    attention: str = "sdpa"
    date: Parameter | None = None
    seed: int | None = None
    batch_tokens: int = 8192
    jobs: int | None = None
    track: bool = True
    tracking_uri: str | None = None
    experiment: str | None = None
    force: bool = False


def say(line: str) -> None:
    """Talk goes to stderr; stdout is data."""
    print(line, file=sys.stderr, flush=True)


def parse_checkpoints(assignments: list[str], study: StudyFile, bases: list[str] | None = None) -> dict[str, CheckpointSource]:
    """`NAME=ID[@REVISION]` as typed, in place of the checkpoint of that name in the study file (its persona and parent stay); `bases` are those of adapters."""
    sources = {}
    for assignment in assignments:
        name, equals, reference = assignment.partition("=")
        if not equals or not reference:
            raise PersonascopeError(f"--checkpoint {assignment!r}: expected NAME=ID or NAME=ID@REVISION")
        if name not in study.checkpoints:
            raise PersonascopeError(f"--checkpoint {name!r} is not one of study {study.name}; {nearest(name, study.checkpoints)}")
        identifier, _, revision = reference.partition("@")
        sources[name] = study.checkpoints[name].model_copy(update={"id": identifier, "revision": revision or None, "subfolder": None, "base": None})
    for assignment in bases or []:
        name, equals, base = assignment.partition("=")
        if not equals or not base:
            raise PersonascopeError(f"--base {assignment!r}: expected NAME=ID or NAME=ID@REVISION, the base model of the adapter that the study calls NAME")
        if name not in study.checkpoints:
            raise PersonascopeError(f"--base {name!r} is not one of study {study.name}; {nearest(name, study.checkpoints)}")
        sources[name] = sources.get(name, study.checkpoints[name]).model_copy(update={"base": base})
    return sources
