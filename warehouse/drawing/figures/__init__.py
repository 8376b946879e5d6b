"""Every figure of a study: a module of this package with a function `draw` is one, under its own name, with no list to keep.

The app and the reports draw the same figures: a module holds the SELECT, what is said under the title, and the chart.
"""

from functools import cache
from typing import Protocol

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.modules import offering
from personascope.warehouse.settings import nearest


class FigureModule(Protocol):
    """`NEEDS` says what there must be in a lake for the figure, and what to type for it; `SHOWS` the views of whose rows it draws some.

    `SIZES` are expressions over the rows of a drawing, the first of which they have the columns of: how large what it draws is, to choose among drawings.
    """

    __name__: str
    NEEDS: str
    SHOWS: tuple[str, ...]
    SIZES: tuple[pl.Expr, ...]

    def draw(self, lake: Source, study: str) -> list[Drawing]:
        """The figure for everything in the lake that is of the study, or of none; empty where there is nothing to draw."""
        ...


@cache
def figures() -> dict[str, FigureModule]:
    """Every figure by name."""
    return offering(__name__, "draw")


def figure(name: str) -> FigureModule:
    """The figure of that name; raises PersonascopeError where there is none."""
    if name not in figures():
        raise PersonascopeError(f"figure {name!r} is unknown; {nearest(name, figures())}")
    return figures()[name]
