"""Writes a document as Markdown, with figures as files beside it."""

import re

from personascope.warehouse.drawing import markup
from personascope.warehouse.drawing.charts import Kind
from personascope.warehouse.drawing.headings import heading
from personascope.warehouse.drawing.report.document import Block, Cells, Code, Document, Others, Paragraph, Picture, Section

FIGURES, MORE = "figures", "more"  # folders beside the text: of the figures in it, and of the others
KINDS: tuple[Kind, ...] = ("png", "svg", "pdf")


def markdown(document: Document) -> str:
    """The text; its links point into the folders beside it."""
    opening = [f"# {markup.markdown(document.title)}", *([f"**{markup.markdown(document.sentence)}**"] if document.sentence else [])]
    parts = [*opening, markup.markdown(document.about), *(_section(each) for each in document.sections)]
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
        return markup.pipe_table(tuple(map(heading, block.columns)), block.rows, frozenset(map(heading, block.numbers))).removesuffix("\n")
    if isinstance(block, Others):
        return "\n".join(f"- {markup.markdown(each.drawing.title)} ({markup.markdown(each.stem)}): {_links(each, MORE)}" for each in block.pictures)
    return _figure(block)


def _figure(block: Picture) -> str:
    drawing = block.drawing
    return f"![{markup.markdown(drawing.title)}]({FIGURES}/{block.stem}.png)\n\n{markup.markdown('. '.join(drawing.facts))}. {_links(block, FIGURES)}"


def _links(block: Picture, folder: str) -> str:
    return ", ".join(f"[{kind.upper()}]({folder}/{block.stem}.{kind})" for kind in KINDS)
