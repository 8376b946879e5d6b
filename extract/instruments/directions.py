"""Directions: vectors of one layer and site, with the checks they pass before a forward pass is read along them or changed by them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personascope.extract.instruments.residual import SITES, Site
from personascope.extract.texts.halves import MadeOn
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest, short
from personascope.warehouse.store.lake import Lake

CONTROLS = ("random", "random_in_span", "shuffled")
"""Kinds of directions that say what a direction without meaning does."""


@dataclass(frozen=True)
class Direction:
    """A vector at one layer and site, numbered and called as in table `activations`: `resid_post` of layer l is the output of decoder layer l, from 0.

    `vector` is float32 [d_model] as it was made, not normalised. `half`: of the questions it was made from (None: from no questions).
    `run_id` and `checkpoint` say where it is kept and whose activations it lives among; None for one that is in no lake.
    """

    id: str
    layer: int
    site: Site
    kind: str
    vector: np.ndarray
    half: MadeOn | None = None
    run_id: str | None = None
    checkpoint: str | None = None
    control_of: str | None = None

    @property
    def norm(self) -> float:
        return float(np.linalg.norm(self.vector.astype(np.float64)))

    @property
    def unit(self) -> np.ndarray:
        """The vector of length 1, float32."""
        return (self.vector.astype(np.float64) / self.norm).astype(np.float32)

    @property
    def is_control(self) -> bool:
        return self.kind in CONTROLS


def check_directions(directions: Sequence[Direction], d_model: int, n_layers: int, whose: str = "the checkpoint") -> None:
    """Raises PersonascopeError for a direction that does not fit a model of this width and depth, and for one that points nowhere."""
    if not directions:
        raise PersonascopeError("no directions; expected at least one")
    seen: set[tuple[str, int, str]] = set()
    for each in directions:
        where = f"direction {each.id!r} of layer {each.layer}"
        if not 0 <= each.layer < n_layers:
            raise PersonascopeError(f"{where}: {whose} has no such layer; expected 0 to {n_layers - 1}")
        if each.site not in SITES:
            raise PersonascopeError(f"{where}: site {each.site!r} is unknown; expected one of {', '.join(SITES)}")
        if each.vector.shape != (d_model,):
            shape = " by ".join(map(str, each.vector.shape))
            raise PersonascopeError(f"{where} has {shape} numbers, and {whose} has {d_model} in every vector; expected a direction of this model")
        finite = np.isfinite(each.vector)
        if not finite.all():
            place = int(np.flatnonzero(~finite)[0])
            raise PersonascopeError(f"{where}: number {place} is {each.vector[place]}; expected finite numbers")
        if not each.vector.any():
            raise PersonascopeError(f"{where} has length 0, so it points nowhere; expected a vector that is not zero")
        if (key := (each.id, each.layer, each.site)) in seen:
            raise PersonascopeError(f"{where} is there twice; expected one vector per direction, layer and site")
        seen.add(key)


def directions_of(
    lake: Lake, run_id: str, checkpoint: str | None = None, layers: Collection[int] | None = None, ids: Collection[str] | None = None, controls: bool = True
) -> list[Direction]:
    """The directions of a committed run, by layer, site and id: those of `ids` (None: all) at `layers` (None: all), with its controls where asked for.

    run_id: a run, or the beginning of its name. checkpoint: refuses directions that live among another's activations. Raises PersonascopeError for a run
    without directions, an id or a layer that it does not have.
    """
    found = lake.find_committed(run_id)
    rows: list[dict[str, Any]] = lake.read(found, "directions").to_pylist()
    if not rows:
        raise PersonascopeError(f"run {found}: it holds no directions; expected a run of `extract directions`")
    whose = sorted({row["checkpoint"] for row in rows})
    if checkpoint is not None and whose != [checkpoint]:
        raise PersonascopeError(f"run {found}: its directions are of checkpoint {', '.join(whose)}; expected some of {checkpoint}")
    known = sorted({row["direction"] for row in rows})
    for each in ids or ():
        if each not in known:
            named = sorted({row["direction"] for row in rows if row["kind"] not in CONTROLS})
            raise PersonascopeError(f"run {found}: it has no direction {short(each)}; {nearest(each, named)}")
    there = sorted({row["layer"] for row in rows})
    for layer in sorted(layers or ()):
        if layer not in there:
            raise PersonascopeError(f"run {found}: it has no direction of layer {layer}; expected some of {', '.join(map(str, there))}")
    wanted = [row for row in rows if (layers is None or row["layer"] in layers) and (ids is None or row["direction"] in ids)]
    directions = [
        Direction(
            id=row["direction"],
            layer=row["layer"],
            site=row["site"],
            kind=row["kind"],
            vector=np.array(row["vector"], dtype=np.float32),
            half=row["half"],
            run_id=found,
            checkpoint=row["checkpoint"],
            control_of=row["control_of"],
        )
        for row in wanted
    ]
    kept = [each for each in directions if controls or not each.is_control]
    return sorted(kept, key=lambda each: (each.layer, SITES.index(each.site), each.id))
