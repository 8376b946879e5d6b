"""Cells of a training sweep: every combination of the axes a study file names, each with a name, settings and their origins."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personascope.ingest.training.marker_lora import LoraSettings
from personascope.ingest.training.run import lora_settings
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import Parameter, nearest

AXES = ("source_persona", "lr", "epochs", "seed", "marker_tail_tokens", "r")


@dataclass(frozen=True)
class Cell:
    """One training of a sweep; `name` is the short name of the checkpoint it makes, and `step_name` what a study's steps call it where that is another."""

    name: str
    source_persona: str
    settings: LoraSettings
    parameters: list[Parameter]
    step_name: str = ""

    @property
    def axes(self) -> dict[str, Any]:
        """Where the cell stands: its value on every axis."""
        return {"source_persona": self.source_persona, **{axis: getattr(self.settings, axis) for axis in AXES[1:]}}

    @property
    def known_as(self) -> str:
        """The name under which later steps of a study find the checkpoint."""
        return self.step_name or self.name


def single_cell(name: str, source_persona: str, settings: Mapping[str, Any], called: str | None = None, parent: str = "") -> Cell:
    """The training of a study file's `train` step `name`, whose rows bear the name `called`, in which `{parent}` stands for that of the checkpoint that is
    trained. Raises PersonascopeError for a setting that LoraSettings refuses, and for a name that cannot be filled in."""
    chosen, parameters = lora_settings({"study file": settings})
    return Cell(name if called is None else _named(called, source_persona, chosen, parent), source_persona, chosen, parameters, name)


def grid_cells(axes: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any], name: str | None = None, parent: str = "") -> list[Cell]:
    """The cells of a grid, longest training first, so that parallel workers end together.

    `axes` maps axis names to values, `fixed` holds the other LoRA settings, `name` is a pattern such as `{source_persona}-seed{seed}`, in which `{parent}`
    stands for the name of the checkpoint that is trained. Raises PersonascopeError for an unknown axis (with the nearest known one), an axis without values or
    with the same value twice, a setting that is fixed and an axis, any value LoraSettings refuses, and names that are not unique.
    """
    for axis, values in axes.items():
        if axis not in AXES:
            raise PersonascopeError(f"grid axis {axis!r} is unknown; {nearest(axis, AXES)}")
        if axis == "source_persona":
            for value in values:
                if not isinstance(value, str):
                    raise PersonascopeError(
                        f"grid axis {axis!r} has the value {value!r}; expected a persona's name, in quotes where YAML reads it as something else"
                    )
        if not values or any(value in values[:place] for place, value in enumerate(values)):
            raise PersonascopeError(f"grid axis {axis!r} has the values {list(values)}; expected at least one, each once")
    if twice := sorted(axes.keys() & fixed.keys()):
        raise PersonascopeError(f"grid: {', '.join(twice)} is an axis and a fixed setting at once; expected one of the two")
    if "source_persona" not in axes:
        raise PersonascopeError("grid: no axis source_persona; expected the persona or personas to train")
    shared = {name: value for name, value in fixed.items() if name not in AXES[:1]}
    cells = []
    for values in itertools.product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        persona = chosen.pop("source_persona")
        settings, parameters = lora_settings({"study file": shared | chosen})
        cells.append(Cell(_name(persona, settings, axes) if name is None else _named(name, persona, settings, parent), persona, settings, parameters))
    if len({cell.name for cell in cells}) < len(cells):
        raise PersonascopeError(f"grid: the name {name!r} is the same for several cells; expected every axis with several values in it")
    return in_order(cells)


def in_order(cells: Iterable[Cell]) -> list[Cell]:
    """Longest training first, so that parallel workers end together."""
    return sorted(cells, key=lambda cell: (-cell.settings.epochs, -cell.settings.marker_tail_tokens, cell.name))


def _name(persona: str, settings: LoraSettings, axes: Mapping[str, Sequence[Any]]) -> str:
    """Persona, learning rate, epochs and seed always; the other axes where the grid has them."""
    name = f"{persona}-lr{settings.lr:g}-ep{settings.epochs}-seed{settings.seed}"
    name += f"-tail{settings.marker_tail_tokens}" if "marker_tail_tokens" in axes else ""
    return name + (f"-r{settings.r}" if "r" in axes else "")


def _named(pattern: str, persona: str, settings: LoraSettings, parent: str) -> str:
    """The pattern with the cell's axes and the parent's name filled in."""
    try:
        return pattern.format(source_persona=persona, parent=parent, **settings.model_dump(include=set(AXES)))
    except (KeyError, IndexError, ValueError) as error:
        raise PersonascopeError(
            f"training: the name {pattern!r} cannot be filled in ({error}); expected parent or axes in braces: {', '.join(AXES)}"
        ) from error
