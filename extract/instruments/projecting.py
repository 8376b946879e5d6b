"""Projections out of a forward pass: what leaves a layer is multiplied by the directions there at once, and no vector is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from personascope.extract.instruments.directions import Direction
from personascope.extract.instruments.residual import Capture, Site

Place = tuple[int, Site]


def units_by_place(directions: Sequence[Direction], device: torch.device) -> dict[Place, Tensor]:
    """Unit directions [d, k], float32, by layer and site, in the order given."""
    places: dict[Place, list[np.ndarray]] = {}
    for each in directions:
        places.setdefault((each.layer, each.site), []).append(each.unit)
    return {place: torch.from_numpy(np.stack(units, axis=1)).to(device) for place, units in places.items()}


@dataclass
class ProjectionCapture(Capture):
    """A capture that keeps inner products alone: of token `columns[i]` of sequence `rows[i]` with every direction of the place, and the token's length.

    values[layer, site] [n, k] and norms[layer, site] [n], float32 on the model's device.
    """

    rows: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    columns: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    units: Mapping[Place, Tensor] = field(default_factory=dict)
    values: dict[Place, Tensor] = field(default_factory=dict)
    norms: dict[Place, Tensor] = field(default_factory=dict)

    def keep(self, layer: int, site: Site, hidden: Tensor) -> None:
        """Project the wanted tokens of hidden [B, T, d]; a place without directions is passed over."""
        if (units := self.units.get((layer, site))) is None:
            return
        chosen = hidden[self.rows.to(hidden.device), self.columns.to(hidden.device)].float()
        self.values[layer, site] = chosen @ units.to(hidden.device)
        self.norms[layer, site] = chosen.norm(dim=1)
