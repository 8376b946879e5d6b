"""The variants of a study: the file as it stands is `full`; a block of the variant's name overrides keys of the file, and settings of steps by their names."""

from collections.abc import Mapping
from typing import Any, get_args

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest
from personascope.warehouse.studies.model import Variant

VARIANTS: tuple[Variant, ...] = get_args(Variant)
_NAMED_BY = ("step", "extract", "train", "grid", "analyse")


def step_name(step: Mapping[str, Any]) -> str:
    """The name that other steps and variants call a step by: its own, else that of what it does."""
    return next((str(step[key]) for key in _NAMED_BY if step.get(key)), "")


def of_variant(document: dict[str, Any], variant: Variant, where: str) -> dict[str, Any]:
    """The study document of one variant: its block's keys over those of the file, steps of other variants left out.

    In the block, `steps` maps names of steps to the keys they change; in `settings` and other mappings null takes a key away, so that the default counts.
    Raises PersonascopeError beginning with `where` for a step that is not there, or that several steps are called.
    """
    overrides = document.get(variant) or {}
    kept = {key: value for key, value in document.items() if key not in VARIANTS}
    if not isinstance(overrides, dict) or not isinstance(kept.get("steps", []), list):
        return kept | ({} if isinstance(overrides, dict) else {variant: overrides})
    changes = overrides.get("steps") or {}
    if not isinstance(changes, dict):
        raise PersonascopeError(f"{where}: {variant}.steps: found {type(changes).__name__}, expected a mapping of names of steps to the keys they change")
    steps = [step for step in kept.get("steps") or [] if not isinstance(step, dict) or variant in (step.get("only") or VARIANTS)]
    names = [step_name(step) for step in steps if isinstance(step, dict)]
    for name in changes:
        if names.count(name) != 1:
            found = "several steps are called so: give each a `step:` of its own" if name in names else nearest(name, dict.fromkeys(names))
            raise PersonascopeError(f"{where}: {variant}.steps: {name!r} is not one step of this variant; {found}")
    steps = [_changed(step, changes.get(step_name(step)) or {}) if isinstance(step, dict) else step for step in steps]
    return kept | {key: value for key, value in overrides.items() if key != "steps"} | ({"steps": steps} if steps else {})


def _changed(step: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A step with its keys changed; mappings are changed key by key, and null takes a key away."""
    changed = dict(step)
    for key, value in changes.items():
        old = changed.pop(key, None)
        if key == "settings" and isinstance(value, dict):
            value = {name: each for name, each in ((old if isinstance(old, dict) else {}) | value).items() if each is not None}
        if value is not None:
            changed[key] = value
    return changed
