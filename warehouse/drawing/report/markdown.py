"""Writes a document as Markdown, with figures as files beside it."""

import re

from personascope.warehouse.drawing.report.document import Block, Cells, Code, Document, Paragraph, Picture, Section

FIGURES = "figures"
_MEANING = re.compile(r"([\\`*\[\]<>|&])")


def markdown(document: Document) -> str:
    """The text; its links point into the folder `figures` beside it."""
    parts = [f"# {_text(document.title)}", _text(document.about), *(_section(each) for each in document.sections)]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> str:
    return "\n\n".join([f"{'#' * section.level} {_text(section.title)}", *map(_block, section.blocks)])


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return f"> {_text(block.text)}" if block.missing else _text(block.text)
    if isinstance(block, Code):
        fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall(r"`+", block.text)), 3)
        return f"{fence}{block.language}\n{block.text}\n{fence}"
    if isinstance(block, Cells):
        return _table(block)
    return _figure(block)


def _figure(block: Picture) -> str:
    drawing = block.drawing
    links = ", ".join(f"[{kind.upper()}]({FIGURES}/{block.stem}.{kind})" for kind in ("png", "svg", "pdf"))
    return f"![{_text(drawing.title)}]({FIGURES}/{block.stem}.png)\n\n{_text('. '.join(drawing.facts))}. {links}"


def _table(block: Cells) -> str:
    marks = ["---:" if name in block.numbers else "---" for name in block.columns]
    lines = [f"| {' | '.join(map(_text, block.columns))} |", f"| {' | '.join(marks)} |"]
    return "\n".join([*lines, *(f"| {' | '.join(map(_text, row))} |" for row in block.rows)])


def _text(words: str) -> str:
    """Words on one line, with every character that means something in Markdown or HTML escaped."""
    return _MEANING.sub(r"\\\1", " ".join(words.split()))
