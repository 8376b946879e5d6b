"""Writes a document as Markdown, with figures as files beside it."""

import re

from personascope.warehouse.drawing import markup
from personascope.warehouse.drawing.report.document import Block, Cells, Code, Document, Paragraph, Picture, Section

FIGURES = "figures"


def markdown(document: Document) -> str:
    """The text; its links point into the folder `figures` beside it."""
    parts = [f"# {markup.markdown(document.title)}", markup.markdown(document.about), *(_section(each) for each in document.sections)]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> str:
    return "\n\n".join([f"{'#' * section.level} {markup.markdown(section.title)}", *map(_block, section.blocks)])


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return f"> {markup.markdown(block.text)}" if block.missing else markup.markdown(block.text)
    if isinstance(block, Code):
        fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall(r"`+", block.text)), 3)
        return f"{fence}{block.language}\n{block.text}\n{fence}"
    if isinstance(block, Cells):
        return markup.pipe_table(block.columns, block.rows, block.numbers).removesuffix("\n")
    return _figure(block)


def _figure(block: Picture) -> str:
    drawing = block.drawing
    links = ", ".join(f"[{kind.upper()}]({FIGURES}/{block.stem}.{kind})" for kind in ("png", "svg", "pdf"))
    return f"![{markup.markdown(drawing.title)}]({FIGURES}/{block.stem}.png)\n\n{markup.markdown('. '.join(drawing.facts))}. {links}"
