"""Means, gates, rule-outs and trajectories per layer, as the marker-attention study summarised them (`attention_summary.json`)."""

from typing import Any

from personascope.ingest.published.document import Document
from personascope.ingest.published.facts import facts
from personascope.ingest.published.layers import LayerLists
from personascope.ingest.published.record import Record
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import short

VERSION = 1

_SUBJECTS, _DIFFERENCE = "per_persona", "trained_vs_base_diff_of_diffs"
_PARTS = ("region_means", "gates", "gate_F_trajectory", "segmentation_a_vs_b_comparison", "head_selection_split_sample")


def recognise(document: Document) -> list[Record]:
    """A JSON object whose `per_persona` holds region means or gates."""
    subjects = document.object.get(_SUBJECTS)
    if subjects is None or not _is_summary(document.object):
        return []
    if not isinstance(subjects, dict):
        raise PersonascopeError(f"{_SUBJECTS} is {short(subjects)}; expected an object of one entry per subject")
    layers: list[dict[str, Any]] = []
    scalars = facts({key: value for key, value in document.object.items() if key not in (_SUBJECTS, _DIFFERENCE)})
    for subject, body in subjects.items():
        for name, part in (
            (f"{_SUBJECTS}.{subject}", body),
            *((f"{_SUBJECTS}.{subject}.{part}", body.get(part, {})) for part in _PARTS if isinstance(body, dict)),
        ):
            if not isinstance(part, dict):
                raise PersonascopeError(f"{name} is {short(part)}; expected an object")
        lists = LayerLists(subject)
        scalars += facts(_unpivot(body, (), lists), subject=subject)
        layers += lists.rows
    if (difference := document.object.get(_DIFFERENCE)) is not None:
        if not isinstance(difference, dict):
            raise PersonascopeError(f"{_DIFFERENCE} is {short(difference)}; expected an object of lists over layers")
        lists = LayerLists(_trained_subject(difference, subjects))
        for name, values in difference.items():
            lists.add(f"{_DIFFERENCE}.{name}", values, ("layer",))
        layers += lists.rows
    return [Record(kind="attention_summary", rows={"published_layers": layers, "published_facts": scalars})]


def _is_summary(value: dict[str, Any]) -> bool:
    subjects = value[_SUBJECTS]
    bodies = list(subjects.values()) if isinstance(subjects, dict) else []
    return _DIFFERENCE in value or any(isinstance(body, dict) and body.keys() & {"region_means", "gates"} for body in bodies)


def _trained_subject(difference: dict[str, Any], subjects: dict[str, Any]) -> str | None:
    """The subject whose system_B means are the trained side; the file does not name it."""
    trained = difference.get("trained_delta_c1_mean")
    matches = [subject for subject, body in subjects.items() if _system_mean(body) == trained]
    return matches[0] if trained and len(matches) == 1 else None


def _system_mean(body: Any) -> Any:
    for key in ("region_means", "system_B", "delta_c1_mean"):
        body = body.get(key) if isinstance(body, dict) else None
    return body


def _unpivot(value: dict[str, Any], path: tuple[str, ...], lists: LayerLists) -> dict[str, Any]:
    """Moves every list over layers or steps into `lists`; returns what is left, in the same nesting."""
    left: dict[str, Any] = {}
    for key, inner in value.items():
        here = (*path, key)
        if path and path[0] == "region_means":
            _add_region(key, inner, lists)
        elif axes := _axes(here):
            lists.add(".".join(here), inner, axes)
        elif key == "split_b_eval" and isinstance(inner, list):
            _add_heads(".".join(here), inner, lists)
        elif isinstance(inner, dict) and inner:
            if rest := _unpivot(inner, here, lists):
                left[key] = rest
        else:
            left[key] = inner
    return left


def _axes(path: tuple[str, ...]) -> tuple[str, ...] | None:
    """What the levels of a list at `path` run over; None for a value that is no list over layers or steps."""
    key, parent = path[-1], path[-2] if len(path) > 1 else ""
    if key == "selected_heads_per_layer":
        return ("layer", "item")
    if key == "diff_per_layer_per_delta":
        return ("step", "layer")
    if key == "band_diff_per_delta":
        return ("step",)
    if key.endswith("_per_layer") or (parent.startswith("ruleout_") and key in ("mean", "sem")):
        return ("layer",)
    return None


def _add_region(region: str, statistics: Any, lists: LayerLists) -> None:
    if not isinstance(statistics, dict):
        raise PersonascopeError(f"region_means.{region} ({lists.subject}) is {short(statistics)}; expected an object of lists over layers")
    for statistic, values in statistics.items():
        lists.add(f"region_means.{statistic}", values, ("layer",), region)


def _add_heads(name: str, per_layer: list[Any], lists: LayerLists) -> None:
    """A list of one object per layer, each of lists over the selected heads, as one list over layers per key."""
    for index, entry in enumerate(per_layer):
        if not isinstance(entry, dict):
            raise PersonascopeError(f"{name}.{index} ({lists.subject}) is {short(entry)}; expected an object of lists over the selected heads")
    for key in dict.fromkeys(key for entry in per_layer for key in entry):
        lists.add(f"{name}.{key}", [entry.get(key, []) for entry in per_layer], ("layer", "item"))
