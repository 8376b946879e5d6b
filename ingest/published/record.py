"""What a recogniser makes of a file: rows per table, whose they are, and what a reader should know of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.writer import Rows


class OtherExperimentError(PersonascopeError):
    """A file with the keys of a record known here and the content of another experiment: it is skipped with this reason, not failed."""


@dataclass(frozen=True)
class Record:
    """One published record, which becomes one run.

    `rows` are given per table; the columns `record` (= kind) and `source_file`, and `checkpoint` and `subject` where a table's rows leave them out, are filled
    in on loading. `identity` is None for a file that is one record (its bytes decide); a file that holds several gives each record's parsed content, so that
    the same record is recognised in another file.
    """

    kind: str
    rows: Mapping[str, Rows]
    checkpoint: str | None = None
    subject: str | None = None
    prompt_set: str | None = None
    prompt_set_hash: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    identity: Any = None
