"""Checkpoints that a training keeps on its way: what they are called, and how the steps of a study file name all of them at once."""

from collections.abc import Mapping
from typing import Any

from personascope.warehouse.store.kept import kept_name

ALL_STEPS = "-step*"


def kept_names(step: Mapping[str, Any]) -> list[str]:
    """The checkpoints that a `train` step of a study document keeps besides the one it makes, in their order; none where its settings name no steps."""
    settings = step.get("settings")
    kept = settings.get("keep_steps") if isinstance(settings, dict) else None
    if not isinstance(kept, list) or not all(isinstance(each, int) for each in kept):
        return []  # refused with the line it stands on when the settings are checked
    return [kept_name(str(step.get("name")), each) for each in sorted(set(kept))]


def with_series(steps: list[Any]) -> list[Any]:
    """The steps of a study document with `NAME-step*` among checkpoints and tokens written out, as far as an earlier training keeps any."""
    series: dict[str, list[str]] = {}
    written = []
    for step in steps:
        if isinstance(step, dict) and "train" in step:
            series[f"{step.get('name')}{ALL_STEPS}"] = kept_names(step)
        elif isinstance(step, dict):
            step = step | {key: _of_all(step[key], series) for key in ("checkpoints", "tokens") if isinstance(step.get(key), list)}
        written.append(step)
    return written


def _of_all(names: list[Any], series: Mapping[str, list[str]]) -> list[Any]:
    """The names with those of a series in place of its pattern; a pattern without a series stays, and is refused as a name that is not known."""
    return [name for each in names for name in (series.get(each, []) if isinstance(each, str) else []) or [each]]
