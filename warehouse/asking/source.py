"""A lake that can be asked, whoever asks: the app keeps answers between its pages, a report asks once; figures take either."""

from typing import Protocol

import polars as pl
import polars.selectors as cs

from personascope.warehouse.asking.answers import Parameters

Value = str | int | float | bool | None


class Source(Protocol):
    """What figures ask."""

    def select(self, query: str, **parameters: Value) -> pl.DataFrame:
        """Rows of one SELECT; `$name` in the query stands for the parameter of that name; decimals come as floats. Raises PersonascopeError."""
        ...


class Asked(Protocol):
    """A `Warehouse`, in this process or another."""

    def select(self, query: str, parameters: Parameters = None) -> pl.DataFrame:
        """The rows of one SELECT statement. Raises PersonascopeError."""
        ...

    def reversed(self) -> "Asked":
        """The same lake whose rows come from behind."""
        ...


class WarehouseSource:
    """A warehouse as a source."""

    def __init__(self, warehouse: Asked) -> None:
        self._warehouse = warehouse

    def select(self, query: str, **parameters: Value) -> pl.DataFrame:
        """Rows of one SELECT; `$name` in the query stands for the parameter of that name; decimals come as floats. Raises PersonascopeError."""
        return self._warehouse.select(query, dict(parameters) or None).with_columns(cs.decimal().cast(pl.Float64))
