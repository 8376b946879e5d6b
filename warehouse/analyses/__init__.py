"""Every analysis: a module of this package that defines `ANALYSIS` is one, with no list to keep."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache

import duckdb

from personascope.warehouse.analyses.base import Analysis, Asking, refresh_one
from personascope.warehouse.asking.catalogue import UnreadableError, is_of_a_file, unreadable
from personascope.warehouse.asking.query import TRIED
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.modules import offering
from personascope.warehouse.settings import nearest
from personascope.warehouse.store.lake import Lake


@cache
def analyses() -> dict[str, Analysis]:
    """Every analysis by name."""
    return {module.ANALYSIS.name: module.ANALYSIS for module in offering(__name__, "ANALYSIS").values()}


def refresh(lake: Lake, names: Iterable[str] | None = None, in_turn: Callable[[Sequence[str]], Iterable[str]] = iter) -> list[str]:
    """Computes what is missing or older than its input, for the analyses of these names (default: all); returns the run_ids written.

    `in_turn` goes through the names, and may show which it is at.

    Begins again where another process removed or replaced a run that was being read. Raises PersonascopeError for a damaged one.
    """
    known = analyses()
    wanted = list(dict.fromkeys(names or known))
    if unknown := [name for name in wanted if name not in known]:
        raise PersonascopeError(f"analysis {unknown[0]!r} is unknown; {nearest(unknown[0], known)}")
    written: list[str] = []
    for left in reversed(range(TRIED)):
        before = lake.names()
        try:
            with Asking(lake) as asking:
                for name in in_turn(wanted):
                    written += refresh_one(asking, known[name])
            return written
        except duckdb.Error as error:
            if not is_of_a_file(error):
                raise
            if not left or not lake.is_changed(before):
                raise unreadable(error) from error
        except UnreadableError:
            if not left or not lake.is_changed(before):
                raise
    return written
