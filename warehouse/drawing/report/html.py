"""Writes a document as one HTML page that needs nothing else: styles and figures inside, no script, no address that is fetched.

Links lead to files beside it alone: the other figures, and the list of the reports of its lake.
"""

import base64
from collections.abc import Mapping

from personascope.warehouse.drawing import markup, tones
from personascope.warehouse.drawing.headings import heading
from personascope.warehouse.drawing.report.document import Block, Cells, Code, Document, Others, Paragraph, Picture, Section
from personascope.warehouse.drawing.report.markdown import FIGURES, KINDS, MORE

STATES: dict[str, tones.Tone] = dict([*tones.VERDICTS.items(), *tones.SEVERITIES.items()])  # words that a first cell may hold
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light; --ink: #24262d; --soft: #5b5e68; --line: #dfe1e6; --back: #f6f7f9; --blue: #0072b2; --orange: #d55e00; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; color: var(--ink); background: white;
  font: 16px/1.55 "Source Sans 3", "Source Sans Pro", "Helvetica Neue", Helvetica, Arial, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.35rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 2px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
p { max-width: 46rem; margin: .5rem 0; }
.sentence { font-size: 1.25rem; line-height: 1.4; max-width: 54rem; }
.about { font-size: 1.02rem; color: var(--soft); }
.back { font-size: .9rem; margin: 0 0 1rem; }
.others { font-size: .9rem; padding-left: 1.2rem; }
.others li { margin: .3rem 0; overflow-wrap: anywhere; }
.missing { color: #8a4300; background: #fff5eb; border-left: 3px solid var(--orange); padding: .35rem .7rem; }
nav ol { columns: 2; padding-left: 1.2rem; margin: 1rem 0; font-size: .95rem; }
a { color: var(--blue); }
figure { margin: 1.4rem 0 2rem; break-inside: avoid; }
figure img { max-width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 4px; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .8rem; line-height: 1.4; width: 100%; }
th, td { padding: .28rem .5rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
td { min-width: 2.5rem; max-width: 26rem; overflow-wrap: anywhere; }
td.short { white-space: nowrap; }
td.long { min-width: 12rem; }
th { background: var(--back); font-weight: 600; vertical-align: bottom; }
th.number { text-align: right; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.none { color: #8a4300; font-style: italic; }
pre { background: var(--back); border: 1px solid var(--line); border-radius: 4px; padding: .5rem .75rem; font-size: .82rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
@media print {
  @page { size: A4 landscape; margin: 14mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .scroll { overflow: visible; border: 0; }
  table { font-size: 6.8pt; } th, td { padding: .15rem .3rem; white-space: normal !important; } td.short, td.number { overflow-wrap: normal; }
  h2, h3 { break-after: avoid; } tr { break-inside: avoid; } nav { display: none; }
}
"""
SHORT, LONG = 24, 60
LARGEST = 4_900_000  # bytes of the page


def html(document: Document) -> str:
    """The page, of at most LARGEST bytes where its text allows it: a picture that would make it larger stands beside it, and is named instead."""
    pictures = {block.stem: _picture(block) for block in document.pictures()}
    room = LARGEST - len(_written(document, {}).encode())
    inside: dict[str, str] = {}
    for stem, picture in pictures.items():
        if len(picture) <= room:
            inside[stem], room = picture, room - len(picture)
    return _written(document, inside)


def page(title: str, body: str) -> str:
    """A whole page around what stands in it (HTML)."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{markup.html(title)}</title>\n<style>{STYLE}{_states()}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def _written(document: Document, pictures: Mapping[str, str]) -> str:
    """The page with these pictures (HTML by stem) inside."""
    entries = "".join(
        f'<li><a href="#{_anchor(number)}">{markup.html(each.title)}</a></li>' for number, each in enumerate(document.sections) if each.level == 2
    )
    back = f'<p class="back"><a href="{markup.html(document.index)}">All reports of this lake</a></p>\n' if document.index else ""
    sentence = f'<p class="sentence">{markup.html(document.sentence)}</p>\n' if document.sentence else ""
    opening = f'{back}<h1>{markup.html(document.title)}</h1>\n{sentence}<p class="about">{markup.html(document.about)}</p>\n<nav><ol>{entries}</ol></nav>\n'
    return page(document.title, opening + "".join(_section(number, each, pictures) for number, each in enumerate(document.sections)))


def _section(number: int, section: Section, pictures: Mapping[str, str]) -> str:
    blocks = "".join(_block(block, pictures) for block in section.blocks)
    return f'<h{section.level} id="{_anchor(number)}">{markup.html(section.title)}</h{section.level}>\n{blocks}'


def _anchor(number: int) -> str:
    return f"part-{number + 1}"


def _block(block: Block, pictures: Mapping[str, str]) -> str:
    if isinstance(block, Paragraph):
        opening = '<p class="missing">' if block.missing else "<p>"
        return f"{opening}{markup.html(block.text)}</p>\n"
    if isinstance(block, Code):
        return f"<pre><code>{markup.html(block.text)}</code></pre>\n"
    if isinstance(block, Cells):
        return _table(block)
    if isinstance(block, Others):
        named = "".join(f"<li>{markup.html(each.drawing.title)}<br>{markup.html(each.stem)}: {_links(each, MORE)}</li>\n" for each in block.pictures)
        return f'<ul class="others">\n{named}</ul>\n'
    beside = f'<p class="missing">{markup.html(block.drawing.title)}: too large for this page, and beside it: {_links(block, FIGURES)}</p>\n'
    return pictures.get(block.stem, beside)


def _links(block: Picture, folder: str) -> str:
    return ", ".join(f'<a href="{folder}/{markup.html(block.stem)}.{kind}">{kind.upper()}</a>' for kind in KINDS)


def _picture(block: Picture) -> str:
    """The PNG, not the SVG: its letters are those its spacing was measured with, whatever fonts the reader has."""
    drawing = block.drawing
    words = f"{drawing.title}. {'. '.join(drawing.facts)}."
    data = base64.b64encode(drawing.picture("png")).decode()
    return (
        f'<figure id="figure-{markup.html(block.stem)}"><img alt="{markup.html(words)}" width="{drawing.width}" src="data:image/png;base64,{data}"></figure>\n'
    )


def _table(block: Cells) -> str:
    numbers = [name in block.numbers for name in block.columns]
    head = "".join(
        f'<th{_number(is_number)} title="{markup.html(name)}">{markup.html(heading(name))}</th>' for name, is_number in zip(block.columns, numbers, strict=True)
    )
    rows = "".join(f"<tr{_state(row)}>{''.join(_cell(value, is_number) for value, is_number in zip(row, numbers, strict=True))}</tr>\n" for row in block.rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>\n'


def _number(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _state(row: tuple[str, ...]) -> str:
    return f' class="{_class(row[0])}"' if row and row[0] in STATES else ""


def _states() -> str:
    return "".join(f"tr.{_class(word)} td:first-child {{ color: {tone.colour}; font-weight: 600; }}\n" for word, tone in STATES.items())


def _class(word: str) -> str:
    return word.replace(" ", "-")


def _cell(value: str, is_number: bool) -> str:
    kind = "number" if is_number else "none" if value == "missing" else "short" if len(value) <= SHORT else "long" if len(value) >= LONG else ""
    opening = f'<td class="{kind}">' if kind else "<td>"
    return f"{opening}{markup.html(value)}</td>"
