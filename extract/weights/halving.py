"""Computes a batch without gradients, in halves where the device runs out of memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.writer import Rows


def in_halves(process: Callable[[Sequence[Any]], Mapping[str, Rows]], items: Sequence[Any], memory: str, who: str) -> dict[str, Rows]:
    """The rows of `process(items)`; when the device runs out of memory, of its halves one after the other, down to single items (with `key` and `length`).

    Raises PersonascopeError where a single one does not fit; `memory` and `who` name what it did not fit, and whose it is.
    """
    return merge_rows(_pieces(process, items, memory, who))


def _pieces(process: Callable[[Sequence[Any]], Mapping[str, Rows]], items: Sequence[Any], memory: str, who: str) -> list[Mapping[str, Rows]]:
    try:
        with torch.inference_mode():
            return [process(items)]
    except torch.cuda.OutOfMemoryError as error:
        if len(items) == 1:
            raise PersonascopeError(
                f"{who}: example {items[0].key} with {items[0].length} tokens does not fit {memory}; expected a smaller model, a shorter input or a narrower "
                "dtype (--dtype)"
            ) from error
    torch.cuda.empty_cache()
    middle = len(items) // 2
    return _pieces(process, items[:middle], memory, who) + _pieces(process, items[middle:], memory, who)


def merge_rows(pieces: Sequence[Mapping[str, Rows]]) -> dict[str, Rows]:
    """Concatenates the rows of several batches table by table."""
    if len(pieces) == 1:
        return dict(pieces[0])
    merged: dict[str, Rows] = {}
    for name in pieces[0]:
        rows = [piece[name] for piece in pieces]
        merged[name] = [row for part in rows for row in part] if isinstance(rows[0], list) else pa.concat_tables(rows)
    return merged
