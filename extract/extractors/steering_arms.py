"""What is done to a model when it is steered: settings, the arms they mean (direction, layer, mode, dose), and the length of each dose in a model."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from personascope.extract.instruments.answer_scores import Lengths, Place
from personascope.extract.instruments.directions import Direction
from personascope.extract.instruments.steering import Push, Steer, Where
from personascope.extract.job import Settings
from personascope.warehouse.errors import PersonascopeError

Mode = Literal["add", "project_out", "cap"]
NEWEST = "newest"
NO_DISTANCE = "steering: unit=distance needs answers of two personas or more to measure the distance between; expected another of them, or unit=norm"


class SteeringSettings(Settings):
    """Which directions steer, how much and where, and what is asked of the steered model."""

    directions: str = Field(default=NEWEST, description="run of directions, or the newest of this checkpoint")
    ids: list[str] | None = Field(default=None, description="directions to steer along (default: all that are no controls); their controls go along")
    controls: int | None = Field(default=None, ge=0, description="controls to steer along at most, the first ones (default: all of the run)")
    layers: Literal["all"] | list[int] = Field(default="all", description="decoder layers from 0, negative from the end, or all the directions have")
    together: bool = Field(default=False, description="steer at all these layers at once instead of at one after the other")
    modes: list[Mode] = Field(default=["add"], min_length=1, description="add, project_out, cap (hold the projection within the range of ordinary answers)")
    doses: list[float] = Field(default=[0.1, 0.2, 0.4], min_length=1, description="mode add: how much is added, in units; negative ones go the other way")
    unit: Literal["norm", "distance"] = Field(
        default="norm", description="unit of doses: norm, the mean length of the residual stream; distance, the mean distance between personas"
    )
    shares: list[float] = Field(default=[1.0], min_length=1, description="modes project_out and cap: share of the change that is made, above 0 and at most 1")
    range: tuple[float, float] = Field(default=(0.01, 0.99), description="mode cap: quantiles of the projections of ordinary answers, 0 and 1 their ends")
    range_personas: list[str] | None = Field(default=None, description="mode cap: personas whose answers give the range (default: all)")
    where: Where = Field(default="all", description="tokens that are steered: all, prompt, answer (each step that draws one), last_system")
    half: Literal["other", "all"] = Field(
        default="other", description="questions asked: the half the directions were not made on, or all, which the audit then says"
    )
    personas: list[str] | None = Field(default=None, description="personas to ask (default: all)")
    samples: int = Field(default=1, ge=1, description="answers per example and arm; with --tokens-from the first answers of an example")
    temperature: float = Field(default=1.0, ge=0, description="0 is greedy")
    top_p: float = Field(default=1.0, gt=0, le=1, description="tokens are drawn from the smallest set that holds this share")
    max_new_tokens: int = Field(default=128, ge=1, description="an answer is cut here")
    marker: str = Field(default="[ZLT]", description="literal string to flag, and to ask the probability of")
    lead: str = Field(default="", description="what training put between answer and marker; it goes behind answers without the marker before that is asked")
    read_layer: int | None = Field(default=None, description="layer at which answers are read along the directions (default: the last one the directions have)")
    task: str | None = Field(default=None, description="task whose questions the steered model answers, as in `extract capability` (default: none)")
    engine: Literal["hf", "vllm"] = Field(default="hf", description="hf: transformers; vllm cannot change a forward pass and is refused")

    @model_validator(mode="after")
    def _sound(self) -> "SteeringSettings":
        low, high = self.range
        if not 0 <= low < high <= 1:
            raise ValueError("range: expected two quantiles [low, high] from 0 to 1, the first one lower")
        if not all(0 < share <= 1 for share in self.shares):
            raise ValueError("shares: expected numbers above 0 and at most 1")
        if not all(np.isfinite(self.doses)) or 0 in self.doses:
            raise ValueError("doses: expected finite numbers other than 0, which every run has")
        return self


@dataclass(frozen=True)
class Arm:
    """One way to steer: along the vectors of one direction, at one layer or at several at once."""

    direction: str
    layer: int | None
    mode: Mode
    dose: float
    vectors: tuple[Direction, ...]

    @property
    def name(self) -> str:
        return f"{self.direction}@{'all' if self.layer is None else self.layer}:{self.mode}:{self.dose:g}"

    @property
    def is_control(self) -> bool:
        return self.vectors[0].is_control


def arms_of(settings: SteeringSettings, directions: Sequence[Direction]) -> list[Arm]:
    """Every arm, directions in their order; raises PersonascopeError for one that has several sites at a layer."""
    by_name: dict[str, list[Direction]] = {}
    for each in directions:
        by_name.setdefault(each.id, []).append(each)
    found = []
    for name, vectors in by_name.items():
        layers = [each.layer for each in vectors]
        if len(set(layers)) < len(layers):
            raise PersonascopeError(f"steering: direction {name!r} has vectors of several sites at one layer; expected directions of one site")
        groups = [tuple(vectors)] if settings.together else [(each,) for each in vectors]
        for group in groups:
            layer = None if settings.together else group[0].layer
            for mode in dict.fromkeys(settings.modes):
                amounts = settings.doses if mode == "add" else settings.shares
                found += [Arm(name, layer, mode, dose, group) for dose in dict.fromkeys(amounts)]
    return found


def units_of(directions: Sequence[Direction]) -> dict[Place, np.ndarray]:
    """The units [K, d] of the directions of each place, in their order."""
    places: dict[Place, list[np.ndarray]] = {}
    for each in directions:
        places.setdefault((each.layer, each.site), []).append(each.unit)
    return {place: np.stack(units) for place, units in places.items()}


@dataclass(frozen=True)
class Dosed:
    """An arm with the lengths it has in a model: what is done, and the columns that tell how much that is.

    Where several layers are steered at once the lengths are means over them.
    """

    arm: Arm
    steer: Steer
    columns: Mapping[str, float | None]


def dosed(arms: Sequence[Arm], settings: SteeringSettings, directions: Sequence[Direction], sizes: Mapping[Place, Lengths]) -> Iterator[Dosed]:
    """The arms in units of the stream's own lengths at each place, as `directions` stand in `sizes`."""
    number: dict[tuple[str, Place], int] = {}
    counted: dict[Place, int] = {}
    for each in directions:
        place = each.layer, each.site
        number[each.id, place] = counted.get(place, 0)
        counted[place] = counted.get(place, 0) + 1
    for arm in arms:
        pushes, rows = [], []
        for vector in arm.vectors:
            place = vector.layer, vector.site
            push, row = _push(arm, vector, settings, sizes[place], sizes[place].along[number[vector.id, place]])
            pushes.append(push)
            rows.append(row)
        columns = {name: None if rows[0][name] is None else float(np.mean([row[name] for row in rows])) for name in rows[0]}
        yield Dosed(arm, Steer(tuple(pushes), settings.where), columns)


def _push(arm: Arm, vector: Direction, settings: SteeringSettings, size: Lengths, along: np.ndarray) -> tuple[Push, dict[str, Any]]:
    row: dict[str, Any] = {"alpha": None, "dose_norm": None, "dose_distance": None, "low": None, "high": None}
    if arm.mode == "add":
        if settings.unit == "distance" and not size.distance:
            raise PersonascopeError(NO_DISTANCE)
        alpha = arm.dose * (size.norm if settings.unit == "norm" else size.distance or 0.0)
        row |= {"alpha": alpha, "dose_norm": alpha / size.norm, "dose_distance": alpha / size.distance if size.distance else None}
        return Push(vector.layer, vector.site, vector.unit, alpha=alpha), row
    if arm.mode == "project_out":
        return Push(vector.layer, vector.site, vector.unit, share=arm.dose), row
    if not along.size:
        raise PersonascopeError("steering: no ordinary answer of range_personas has a token, so mode cap has no range; expected some of these personas")
    low, high = (float(each) for each in np.quantile(along, settings.range))
    return Push(vector.layer, vector.site, vector.unit, share=arm.dose, low=low, high=high), row | {"low": low, "high": high}


def cut_answers(rows: pl.DataFrame) -> Iterator[str]:
    """A line where ordinary answers (rows of table `steering`) have no t*, so that what a dose does to the marker's log-probability rests on the others."""
    known = rows.filter(pl.col("dose") == 0)["marker_log_prob"]
    if missing := known.null_count():
        rest = f"of {len(known) - missing} alone" if missing < len(known) else "of none, and persona_gate will have no verdict"
        yield (
            f"steering: {missing} of {len(known)} ordinary answers are cut before they end, without the marker, so its log-probability is known {rest}; "
            "with more new tokens (max_new_tokens of what draws them) more of them end"
        )


FAR = 10  # times the largest projection of an ordinary answer, beyond which a token of a prompt loses more than answers do


def beyond_range(arms: Sequence[Dosed], directions: Sequence[Direction], sizes: Mapping[Place, Lengths]) -> Iterator[str]:
    """A line for every direction, no control, and mode that takes far more from tokens of prompts than from ordinary answers.

    The first token of a text often has massive activations, far out along any direction, and later ones attend to it: a cap there does more than of answers.
    """
    said = set()
    for each in arms:
        if each.arm.mode == "add" or each.arm.is_control or each.steer.where not in ("all", "prompt"):
            continue
        for push in each.steer.pushes:
            place = push.layer, push.site
            number = [other.id for other in directions if (other.layer, other.site) == place].index(each.arm.direction)
            low, high = (float(end) for end in sizes[place].before[number])
            along = sizes[place].along[number]
            if each.arm.mode == "cap":
                bounds, what = (push.low, push.high), f"the range of ordinary answers is {push.low:.4g} to {push.high:.4g}"
            else:
                reach = FAR * float(np.abs(along).max(initial=0))
                bounds, what = (-reach, reach), f"ordinary answers from {along.min(initial=0):.4g} to {along.max(initial=0):.4g}"
            if (each.arm.direction, each.arm.mode, place) not in said and (low < bounds[0] or high > bounds[1]):
                said.add((each.arm.direction, each.arm.mode, place))
                yield (
                    f"steering: {each.arm.mode} at layer {push.layer}: tokens of prompts lie along {each.arm.direction} from {low:.4g} to {high:.4g}; {what}, "
                    f"and where={each.steer.where} moves both. To move the first token alone can change every answer; where=answer moves answers alone"
                )


def notes(rows: pl.DataFrame, arms: Sequence[Dosed], directions: Sequence[Direction], sizes: Mapping[Place, Lengths]) -> Iterator[str]:
    """What a reader should know before anything is steered."""
    yield from cut_answers(rows)
    yield from beyond_range(arms, directions, sizes)


TOGETHER = ("all", "others", "task")
"""What the views of steering write in place of a persona."""


def expect_personas(settings: SteeringSettings, personas: Collection[str]) -> None:
    """Refuses, before anything is sampled, doses in units of the distance between personas of only one, and a persona called as views call several."""
    if taken := sorted(set(personas) & set(TOGETHER)):
        raise PersonascopeError(f"steering: persona {taken[0]!r} is what views call rows of several personas or of the task; expected another name for it")
    if settings.unit == "distance" and "add" in settings.modes and len(personas) < 2:
        raise PersonascopeError(NO_DISTANCE)


def columns_of(arm: Dosed | None, unit: str) -> dict[str, Any]:
    """The columns of table `steering` that say how the model is steered; None: it is not. `unit`: that of doses of mode add."""
    if arm is None:
        return {"direction": None, "layer": None, "mode": None, "dose": 0.0, "n_layers": 0}
    first = arm.arm.vectors[0]
    return {
        "direction": arm.arm.direction,
        "kind": first.kind,
        "control_of": first.control_of,
        "made_half": first.half,
        "layer": arm.arm.layer,
        "n_layers": len(arm.arm.vectors),
        "site": first.site,
        "mode": arm.arm.mode,
        "unit": unit if arm.arm.mode == "add" else "share",
        "dose": arm.arm.dose,
        **arm.columns,
    }
