"""Every figure of a study: a module of this package with a function `draw` is one, under its own name, with no list to keep.

The app and the reports draw the same figures: a module holds the SELECT, what is said under the title, and the chart.
"""

import importlib
import pkgutil
from functools import cache
from typing import Protocol

from warehouse.charts import Drawing
from warehouse.errors import PersonascopeError
from warehouse.source import Source


class FigureModule(Protocol):
    """`NEEDS` says what there must be in a lake for the figure, and what to type for it."""

    __name__: str
    NEEDS: str

    def draw(self, lake: Source, study: str) -> list[Drawing]:
        """The figure for everything in the lake that is of the study, or of none; empty where there is nothing to draw."""
        ...


@cache
def figures() -> dict[str, FigureModule]:
    """Every figure by name."""
    modules = {info.name: importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}
    return {name: module for name, module in sorted(modules.items()) if hasattr(module, "draw")}


def figure(name: str) -> FigureModule:
    """The figure of that name; raises PersonascopeError where there is none."""
    if name not in figures():
        raise PersonascopeError(f"figure {name!r} is unknown; expected one of {', '.join(figures())}")
    return figures()[name]
