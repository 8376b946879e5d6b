"""What MLflow is told of a run, in its own terms: tags, names and texts within its limits, figures of a summary."""

import getpass
import json
import math
import os
import re
from collections.abc import Mapping
from numbers import Real
from typing import Any

from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.provenance import git_state

PARAMETER_LIMIT, TAG_LIMIT, NAME_LIMIT = 6000, 8000, 250  # characters MLflow accepts


def summary_figures(summary: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of a summary, nested mappings joined with `/`; lists (per-layer detail) and text stay out."""
    figures: dict[str, float] = {}
    for key, value in summary.items():
        name = prefix + allowed_name(key)
        if isinstance(value, Mapping):
            figures |= summary_figures(value, f"{name}/")
        elif isinstance(value, Real) and math.isfinite(value):
            figures[name[:NAME_LIMIT]] = float(value)
    return figures


def run_tags(spec: RunSpec, notes: list[str]) -> dict[str, str]:
    commit, dirty = git_state()
    values = {
        "personascope.run_id": spec.run_id,
        "kind": spec.kind,
        "study": spec.study,
        "extractor": spec.extractor,
        "extractor_version": spec.version,
        "checkpoint": spec.checkpoint,
        "revision": _revision(spec),
        "subject": spec.subject,
        "inputs": ", ".join(spec.inputs) or None,
        "prompt_set": spec.prompt_set,
        "prompt_set_hash": spec.prompt_set_hash,
        "seed": spec.seed,
        "dtype": spec.dtype,
        "attention_implementation": spec.attention_implementation,
        "device": spec.device,
        "device_memory_gib": spec.device_memory_gib,
        "git_commit": commit,
        "git_dirty": dirty,
        "tracking_notes": "; ".join(notes) or None,
    }
    for origin in sorted({each.origin for each in spec.parameters}):
        values[f"parameters_from_{origin.replace(' ', '_')}"] = ", ".join(each.name for each in spec.parameters if each.origin == origin)
    return common_tags() | {name: clip(as_text(value), TAG_LIMIT) for name, value in values.items() if value is not None}


def common_tags() -> dict[str, str]:
    """Tags that MLflow's own interface shows as source, commit and user."""
    tags = {"mlflow.source.name": "personascope", "mlflow.source.type": "LOCAL"}
    if commit := git_state()[0]:
        tags["mlflow.source.git.commit"] = commit
    try:
        tags["mlflow.user"] = getpass.getuser()
    except (OSError, KeyError):  # a container without a user database
        tags["mlflow.user"] = str(os.getuid())
    return tags


def _revision(spec: RunSpec) -> str | None:
    """What decides the weights: the checkpoint's revision as a parameter, else as the second half of its entry in the identity."""
    for parameter in spec.parameters:
        if parameter.name == "revision":
            return parameter.value
    match spec.identity.get("checkpoint"):
        case [_, str(revision)]:
            return revision
    return None


def allowed_name(name: Any) -> str:
    """`name` in the characters MLflow accepts for parameters and metrics."""
    return re.sub(r"[^\w\-. ]", "_", str(name))[:NAME_LIMIT].strip(".") or "_"


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def root_cause(error: BaseException) -> BaseException:
    """The operating system's error at the bottom (connection refused, no such host) where there is one: what libraries wrap around it is pages long."""
    inner: BaseException | None = error
    while inner is not None:
        deepest, inner = inner, inner.__cause__ or inner.__context__
    return deepest if isinstance(deepest, OSError) else error


def reason(error: BaseException) -> str:
    """First line of an error, short enough for a sentence."""
    lines = str(error).strip().splitlines()
    return clip(lines[0] if lines else type(error).__name__, 200)
