"""Published result files as rows of the lake: every file is recognised by its content and loaded once, whatever it is called.

A new kind of file is one new module in this package with `VERSION` (raised when its rows change) and `recognise(document) -> list[Record]`, which gives
no record where the file is of another kind and raises PersonascopeError where it is of its kind but malformed.
"""

from personascope.ingest.published.registry import ingest_published
from personascope.ingest.published.report import FileOutcome, Report

__all__ = ["FileOutcome", "Report", "ingest_published"]
