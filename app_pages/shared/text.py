"""Shows text that a model wrote: escaped, whatever it contains, with the marker highlighted and the regions of a prompt coloured."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from personascope.warehouse.drawing import markup
from personascope.warehouse.drawing.words import signed

REGION_COLOURS = {"system": "#0072b2", "user": "#e69f00", "header": "#7f7f7f", "specials": "#7f7f7f", "assistant": "#009e73"}
_STYLE = "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;line-height:1.55"
_MARKED = "background:#f0e442;color:#000;font-weight:600;padding:0 .2em;border-radius:.2em;outline:1px solid #b8a800"
_CHIP = "display:inline-block;padding:0 .5em;margin:0 .35em .2em 0;border-radius:.6em;background:#80808026;font-size:.82em;white-space:nowrap"


@dataclass(frozen=True)
class Piece:
    """A stretch of text of one region; `structural` stretches (template, line breaks) are drawn lighter, the marker stands out."""

    text: str
    region: str
    structural: bool = False
    is_marker: bool = False


def plain(text: object) -> str:
    """`text` for a place that reads Markdown, with every character of meaning escaped and line breaks flattened."""
    return markup.markdown(text, everywhere=True)


def marked(text: str, marker: str | None) -> str:
    """`text` as HTML with every occurrence of the literal marker highlighted."""
    if not marker:
        return markup.html(text)
    return f'<mark style="{_MARKED}">{markup.html(marker)}</mark>'.join(markup.html(part) for part in text.split(marker))


def chips(labels: Iterable[str]) -> str:
    """Short facts in a row, as HTML."""
    return "".join(f'<span style="{_CHIP}">{markup.html(label)}</span>' for label in labels)


def block(inner: str, max_height: str = "none") -> str:
    """HTML of a text block that keeps line breaks; `inner` is HTML already. Beyond `max_height` it scrolls."""
    return f'<div dir="auto" style="{_STYLE};max-height:{max_height};overflow-y:auto">{inner}</div>'


def coloured(pieces: Sequence[Piece]) -> str:
    """The pieces as HTML, each region in its colour, structural stretches lighter and line breaks among them visible."""
    return "".join(_piece(piece) for piece in pieces)


def shaded(tokens: Iterable[tuple[str, float]], reach: float) -> str:
    """Tokens as HTML, each tinted by its number: orange above 0, blue below, the strongest tint at plus and minus `reach` and beyond."""
    above, below = (230, 159, 0), (0, 114, 178)
    pieces = []
    for token, value in tokens:
        strength = min(1.0, abs(value) / reach) if reach > 0 else 0.0
        red, green, blue = above if value > 0 else below
        words = markup.html(token.replace("\n", "↵\n"))
        pieces.append(f'<span title="{signed(value, 2)}" style="background:rgba({red},{green},{blue},{0.6 * strength:.2f})">{words}</span>')
    return "".join(pieces)


def legend(regions: Iterable[tuple[str, str]]) -> str:
    """HTML of a legend: (region, what it is called)."""
    shape = "display:inline-block;line-height:1.5;padding:.05em .5em;margin-right:.5em;border-radius:.2em"
    entries = (f'<span style="{_tint(region, False)};{shape}">{markup.html(name)}</span>' for region, name in regions)
    return f'<div style="font-size:.85em;line-height:2">{"".join(entries)}<mark style="{_MARKED}">marker</mark></div>'


def prompt_pieces(rendered: str | None, system_prompt: str | None, question: str) -> list[Piece]:
    """A prompt cut into the words of the system message, those of the user and what the chat template puts around them.

    `rendered` is the prompt as the template wrote it (None: unknown, only the two messages are shown). What the template writes is one kind of piece,
    `header`: whose turn a token of it belongs to is decided token by token when it is read, not by its text.
    """
    if rendered is None:
        return [*([Piece(f"{system_prompt}\n", "system")] if system_prompt else []), Piece(f"{question}\n", "user")]
    pieces, start = [], 0
    for message, region in ((system_prompt, "system"), (question, "user")):
        words = (message or "").strip()
        found = rendered.find(words, start) if words else -1
        if found >= 0:
            pieces += [Piece(rendered[start:found], "header", True), Piece(words, region)]
            start = found + len(words)
    return [piece for piece in [*pieces, Piece(rendered[start:], "header", True)] if piece.text]


def answer_pieces(text: str, marker: str | None) -> list[Piece]:
    """An answer cut into words, line breaks and the marker wherever it stands."""
    pattern = rf"({re.escape(marker)}|\n+)" if marker else r"(\n+)"
    return [Piece(part, "assistant", not part.strip("\n"), part == marker) for part in re.split(pattern, text) if part]


def _piece(piece: Piece) -> str:
    if piece.is_marker:
        return marked(piece.text, piece.text)
    text = piece.text.replace("\n", "↵\n") if piece.structural else piece.text
    return f'<span style="{_tint(piece.region, piece.structural)}">{markup.html(text)}</span>'


def _tint(region: str, structural: bool) -> str:
    colour = REGION_COLOURS[region]
    return f"background:{colour}{'12' if structural else '2e'}" + (";opacity:.65" if structural else "")
