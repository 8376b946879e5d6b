"""One part of a run as files: written under a name that nobody reads, so that whoever commits the run can take it or leave it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq

from personascope.warehouse.store.conforming import Rows, conform
from personascope.warehouse.store.schema import table

NULLED = "nan.json"


@dataclass(frozen=True)
class PartStage:
    """Where the parts of a run are staged, and what fills the columns that rows leave out; it can be sent to another process that sees the folder."""

    folder: Path
    constants: Mapping[str, Any]

    def write(self, part: str, rows: Mapping[str, Rows]) -> str:
        """Writes a part for every table in `rows`; returns the name of its folder, which no part has before it is renamed.

        The folder of the parts must be there: one that was removed is never made again. Raises OSError, and PersonascopeError for unknown columns and wrong
        types.
        """
        temporary = self.folder / f".{part}-{uuid4().hex[:8]}"
        temporary.mkdir()
        nulled: dict[str, int] = {}
        for name, values in rows.items():
            filled, nan = conform(table(name), values, self.constants)
            if nan:
                nulled[name] = nan
            pq.write_table(filled, temporary / f"{name}.parquet", compression="zstd", compression_level=1)
        (temporary / NULLED).write_text(json.dumps(nulled))
        return temporary.name
