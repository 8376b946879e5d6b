"""Steers forward passes along directions: adds to a residual vector, projects a direction out of it, or holds its projection within a range, row by row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from personascope.extract.instruments.residual import Block, Site, changing
from personascope.warehouse.errors import PersonascopeError

Where = Literal["all", "prompt", "answer", "last_system"]
NEVER = 2**31 - 1  # a column that no batch reaches


@dataclass(frozen=True)
class Push:
    """What becomes of a vector h at one layer and site: h + (alpha + share * (clamp(p, low, high) - p)) * unit, p being the projection of h on `unit`.

    unit: float [d], of length 1; alpha, low and high are lengths in the residual stream, share is 1 for the whole of a projection and 0 for none.
    """

    layer: int
    site: Site
    unit: np.ndarray
    alpha: float = 0.0
    share: float = 0.0
    low: float = 0.0
    high: float = 0.0

    @property
    def changes_nothing(self) -> bool:
        return not self.alpha and not self.share

    def check(self, dtype: torch.dtype, largest: float, name: str) -> None:
        """Raises PersonascopeError where numbers of the stream, `largest` at most, would leave the range of `dtype` under this push."""
        limit = torch.finfo(dtype).max
        reached = largest + abs(self.alpha) * float(np.abs(self.unit).max())
        if not reached <= limit:
            kind = str(dtype).removeprefix("torch.")
            raise PersonascopeError(
                f"{name}: in layer {self.layer} it adds a vector of length {abs(self.alpha):.3g}, with which numbers reach {reached:.3g}, and {kind} ends at "
                f"{limit:.3g}; expected a smaller dose, or a wider dtype (--dtype)"
            )


@dataclass(frozen=True)
class Steer:
    """What is done to one row of a batch, and at which of its tokens.

    where: `all` of them; `prompt`, all but the last of the prompt; `answer`, the last token of the prompt, from which the answer's first is drawn, and every
    token of the answer; `last_system`, the last token of the system block.
    """

    pushes: tuple[Push, ...]
    where: Where = "all"


@dataclass(frozen=True)
class Span:
    """The columns of one row: its prompt stands at [start, stop) and its answer from `stop` on; `last_system` is that of the last token of the system block."""

    start: int
    stop: int
    last_system: int | None = None

    def columns(self, where: Where) -> tuple[int, int]:
        """First column and end of what is steered; raises PersonascopeError for a row without a system block."""
        if where == "last_system":
            if self.last_system is None:
                raise PersonascopeError("steering at last_system: a prompt has no system block; expected a system message in every prompt")
            return self.last_system, self.last_system + 1
        return {"all": (self.start, NEVER), "prompt": (self.start, self.stop - 1), "answer": (self.stop - 1, NEVER)}[where]


@contextmanager
def steering(blocks: Sequence[Block], steers: Sequence[Steer | None], spans: Sequence[Span]) -> Iterator[None]:
    """Within it row i of a batch is steered as steers[i] says (None: not at all), in one forward pass or in several.

    Columns count padding. A pass over several begins at the first, whether it is the prompt's or one without a cache; a pass over one goes on behind the last.
    A row that nothing changes is the same to the last bit as without the block.
    """
    grouped: dict[tuple[int, Site], list[dict[int, Push]]] = defaultdict(list)
    for row, steer in enumerate(steers):
        for push in steer.pushes if steer else ():
            if push.changes_nothing:
                continue
            turns = grouped[push.layer, push.site]
            turn = next((each for each in turns if row not in each), None)
            if turn is None:
                turns.append(turn := {})
            turn[row] = push
    columns = [span.columns(steer.where) if steer else (0, 0) for steer, span in zip(steers, spans, strict=True)]
    with ExitStack() as stack:
        for place, turns in grouped.items():
            for turn in turns:
                stack.enter_context(changing(blocks, {place: _Steered(turn, columns, len(steers))}))
        yield


class _Steered:
    """The change of one layer and site: every row that is pushed there, once."""

    def __init__(self, pushes: Mapping[int, Push], columns: Sequence[tuple[int, int]], n_rows: int) -> None:
        self.rows, self.pushes = list(pushes), list(pushes.values())
        self.first, self.end = (torch.tensor([columns[row][side] for row in self.rows])[:, None] for side in (0, 1))
        self.earliest, self.latest = int(self.first.min()), int(self.end.max())
        self.whole = range(int(self.first.max()), int(self.end.min()))  # columns at which every row is pushed
        self.every = self.rows == list(range(n_rows))
        self.looks = any(push.share for push in self.pushes)
        self.seen = 0
        self._placed: tuple[Tensor, ...] | None = None

    def _on(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """Rows, first and last columns [n, 1], units [n, 1, d], and alpha, share, low, high [n, 1], on the device and in the width of the sums."""
        if self._placed is None:
            wide = torch.promote_types(hidden.dtype, torch.float32)
            units = torch.from_numpy(np.stack([push.unit.astype(np.float64) for push in self.pushes]))[:, None]
            units = units / units.norm(dim=-1, keepdim=True)  # of length 1 to the last bit of the widest sum
            numbers = torch.tensor([[push.alpha, push.share, push.low, push.high] for push in self.pushes], dtype=torch.float64)
            placed = (units, *numbers.split(1, dim=1))
            whole = (each.to(hidden.device) for each in (torch.tensor(self.rows), self.first, self.end))
            self._placed = (*whole, *(each.to(hidden.device, wide) for each in placed))
        return self._placed

    def __call__(self, hidden: Tensor) -> Tensor:
        start = self.seen if hidden.shape[1] == 1 else 0
        self.seen = start + hidden.shape[1]
        if self.seen <= self.earliest or start >= self.latest:
            return hidden
        rows, first, end, unit, alpha, share, low, high = self._on(hidden)
        own = (hidden if self.every else hidden[rows]).to(unit.dtype)
        amount = alpha
        if self.looks:
            along = (own @ unit.transpose(1, 2))[..., 0]
            amount = amount + share * (torch.minimum(torch.maximum(along, low), high) - along)
        if start < self.whole.start or self.seen > self.whole.stop:
            column = torch.arange(start, self.seen, device=hidden.device)
            amount = torch.where((column >= first) & (column < end), amount, 0)
        moved = (own + amount[..., None] * unit).to(hidden.dtype)
        if self.every:
            return moved
        changed = hidden.clone()
        changed[rows] = moved
        return changed
