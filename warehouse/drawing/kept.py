"""Keeps the charts of rows that were drawn before: building one costs tens of milliseconds, recognising its rows less than one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from hashlib import blake2b
from typing import Any, ParamSpec, TypeVar

import polars as pl

MOST_CHARTS, MOST_ROWS = 200, 20_000

P = ParamSpec("P")
Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class _Call:
    """A call of a drawing function: equal calls draw the same, whichever objects hold their rows."""

    name: str
    arguments: tuple[object, ...]
    draw: Callable[[], Any] = field(compare=False)


@lru_cache(maxsize=MOST_CHARTS)
def _drawn(call: _Call) -> Any:
    return call.draw()


def kept(draw: Callable[P, Drawn]) -> Callable[P, Drawn]:
    """The drawing function, which must depend on its arguments alone and whose result nobody may change; tables that are too long to keep are drawn anew."""

    @wraps(draw)
    def drawn(*arguments: P.args, **named: P.kwargs) -> Drawn:
        tables = [each for each in (*arguments, *named.values()) if isinstance(each, pl.DataFrame)]
        if any(rows.height > MOST_ROWS or any(kind == pl.Object for kind in rows.dtypes) for rows in tables):
            return draw(*arguments, **named)
        values = (*map(_recognised, arguments), *((name, _recognised(value)) for name, value in sorted(named.items())))
        result: Drawn = _drawn(_Call(f"{draw.__module__}.{draw.__qualname__}", values, lambda: draw(*arguments, **named)))
        return result

    return drawn


def digest(rows: pl.DataFrame) -> bytes:
    """What tells a table from others: of its values, the names of its columns and their types."""
    return blake2b(rows.write_ipc(None, compat_level=pl.CompatLevel.newest()).getbuffer()).digest()


def _recognised(argument: object) -> object:
    return digest(argument) if isinstance(argument, pl.DataFrame) else repr(argument)
