"""What a report consists of; HTML and Markdown are two ways to write the same document. Every text is plain, without markup, wherever it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import polars as pl

from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.places import in_words
from personascope.warehouse.drawing.tables import with_values

MISSING = "missing"


@dataclass(frozen=True)
class Paragraph:
    """Prose; `missing` marks a sentence that says what is not in the lake."""

    text: str
    missing: bool = False


@dataclass(frozen=True)
class Code:
    """Something to type, or a query."""

    text: str
    language: str = "sh"


@dataclass(frozen=True)
class Cells:
    """A table of texts; the columns named in `numbers` are aligned as numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Picture:
    """A figure; its files are named `stem` with the ending of each kind."""

    drawing: Drawing
    stem: str


@dataclass(frozen=True)
class Others:
    """Figures that stand in a folder beside the document instead of in it."""

    pictures: tuple[Picture, ...]


Block: TypeAlias = Paragraph | Code | Cells | Picture | Others


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; level 2 is the highest, the title of the document is 1."""

    title: str
    blocks: tuple[Block, ...]
    level: int = 2


@dataclass(frozen=True)
class Document:
    """A report: title, the answer in one sentence, what the study is about, sections; `index` is where the reports of its lake are listed, if anywhere."""

    title: str
    about: str
    sections: tuple[Section, ...]
    sentence: str = ""
    index: str | None = None

    def blocks(self) -> list[Block]:
        """Everything under the headings, in order."""
        return [block for section in self.sections for block in section.blocks]

    def pictures(self) -> list[Picture]:
        """The figures that stand in it."""
        return [block for block in self.blocks() if isinstance(block, Picture)]

    def others(self) -> list[Picture]:
        """The figures beside it."""
        return [each for block in self.blocks() if isinstance(block, Others) for each in block.pictures]

    def missing(self) -> list[str]:
        """What the report says is not in the lake."""
        return [block.text for block in self.blocks() if isinstance(block, Paragraph) and block.missing]


def cell(value: object) -> str:
    """A value as a table shows it: floats to four significant digits, lists in words, NULL as an empty cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, pl.Series | list | tuple):
        return ", ".join(map(cell, value))
    return str(value)


def table(rows: pl.DataFrame, most: int | None = None) -> Cells:
    """Rows of a query, without columns that hold nothing, and with words for where was read; `most` of them."""
    kept = in_words(with_values(rows))
    shown = kept if most is None else kept.head(most)
    numbers = frozenset(name for name, kind in shown.schema.items() if kind.is_numeric())
    return Cells(tuple(shown.columns), tuple(tuple(map(cell, row)) for row in shown.iter_rows()), numbers)


def listing(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Cells:
    """A table whose cells say `missing` where a value is not recorded."""
    return Cells(tuple(columns), tuple(tuple(MISSING if value in (None, "") else cell(value) for value in row) for row in rows))
