"""Marker minus control per example and layer, as the marker-attention study saved it (`per_example_deltas_<subject>.json`)."""

import re

import numpy as np
import polars as pl
from pydantic import ConfigDict, RootModel

from personascope.ingest.published.checkpoint_rows import checkpoint_of, tokens_of
from personascope.ingest.published.document import Document
from personascope.ingest.published.facts import facts
from personascope.ingest.published.record import Record
from personascope.ingest.published.validate import Name, Strict, validated
from personascope.warehouse.errors import PersonascopeError

VERSION = 1

_KEY = re.compile(r"delta_(c\d+)")


class _Header(Strict):
    persona: Name


class _Matrix(RootModel[list[list[float | None]]]):
    """Rows are examples in file order, columns layers; an example without controls is NaN or null."""

    model_config = ConfigDict(strict=True)


def recognise(document: Document) -> list[Record]:
    """A JSON object with `persona` and at least one list `delta_c1`, `delta_c2`, ..."""
    keys = [key for key in document.object if _KEY.fullmatch(key)]
    if not keys or "persona" not in document.object:
        return []
    subject = validated(_Header, document.object).persona
    matrices = {key: validated(_Matrix, document.object[key], key).root for key in keys}
    n_rows, n_layers = _shape(matrices)
    return [
        Record(
            kind="per_example_deltas",
            checkpoint=checkpoint_of(subject),
            subject=subject,
            rows={
                "published_deltas": pl.concat([_rows(key, matrix, n_rows, n_layers) for key, matrix in matrices.items()]).with_columns(
                    tokens_from=pl.lit(tokens_of(subject))
                ),
                "published_facts": facts({key: value for key, value in document.object.items() if key not in matrices}, subject=subject),
            },
        )
    ]


def _shape(matrices: dict[str, list[list[float | None]]]) -> tuple[int, int]:
    """Examples and layers, the same in every list; raises PersonascopeError for the first that differs."""
    first, matrix = next(iter(matrices.items()))
    n_rows, n_layers = len(matrix), len(matrix[0]) if matrix else 0
    if not n_rows or not n_layers:
        raise PersonascopeError(f"{first} is empty; expected one row per example with one number per layer")
    for key, matrix in matrices.items():
        if len(matrix) != n_rows:
            raise PersonascopeError(f"{key} has {len(matrix)} rows; expected {n_rows}, one per example, as {first} has")
        for index, row in enumerate(matrix):
            if len(row) != n_layers:
                raise PersonascopeError(f"{key}.{index} has {len(row)} numbers; expected {n_layers}, one per layer, as {first}.0 has")
    return n_rows, n_layers


def _rows(key: str, matrix: list[list[float | None]], n_rows: int, n_layers: int) -> pl.DataFrame:
    values = pl.Series("delta", [value for row in matrix for value in row], pl.Float64)
    return pl.DataFrame(
        {
            "row_ix": np.repeat(np.arange(n_rows, dtype=np.int32), n_layers),
            "layer": np.tile(np.arange(n_layers, dtype=np.int32), n_rows),
            "delta": pl.select(pl.when(values.is_infinite()).then(float("nan")).otherwise(values)).to_series(),
        }
    ).with_columns(control=pl.lit(key.removeprefix("delta_").upper()))
