"""Unpivots lists over layers, steps and items into rows of `published_layers`."""

from collections.abc import Iterator
from typing import Any

from personascope.ingest.published.facts import finite
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import short


class LayerLists:
    """Collects the per-layer lists of one subject; every list over layers must have as many entries as the first."""

    def __init__(self, subject: str | None) -> None:
        self.subject = subject
        self.rows: list[dict[str, Any]] = []
        self._n_layers: int | None = None
        self._first = ""

    def add(self, statistic: str, values: Any, axes: tuple[str, ...], region: str | None = None) -> None:
        """Adds the nested lists `values`, whose levels are `axes` (layer, step, item), as one row per number.

        Steps count backwards to 0 at the end of the list. Raises PersonascopeError for a level that is no list, a leaf that is no number and a list over
        layers of another length than the others.
        """
        where = f"{statistic} ({', '.join(part for part in (self.subject, region) if part)})" if self.subject or region else statistic
        for place, value in self._explode(values, axes, where):
            row = {"subject": self.subject, "statistic": statistic, "region": region, "layer": None, "step": None, "item": None, "value": value}
            self.rows.append(row | place)

    def _explode(self, values: Any, axes: tuple[str, ...], where: str) -> Iterator[tuple[dict[str, int], float | None]]:
        if not axes:
            if values is not None and not isinstance(values, int | float):
                raise PersonascopeError(f"{where} is {short(values)}; expected a number")
            yield {}, None if values is None else finite(values)
            return
        if not isinstance(values, list):
            raise PersonascopeError(f"{where} is {short(values)}; expected a list over {axes[0]}s")
        if axes[0] == "layer":
            if self._n_layers is None:
                self._n_layers, self._first = len(values), where
            elif len(values) != self._n_layers:
                raise PersonascopeError(f"{where} has {len(values)} entries; expected one per layer, {self._n_layers} as {self._first} has")
        start = 1 - len(values) if axes[0] == "step" else 0
        for index, inner in enumerate(values):
            for place, value in self._explode(inner, axes[1:], f"{where}[{index}]"):
                yield {axes[0]: start + index, **place}, value
