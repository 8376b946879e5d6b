"""Words that others wrote, in Markdown and HTML: escaped, so that nothing of them has a meaning there; and the one pipe table of commands, reports and docs."""

import html as html_library
import re
from collections.abc import Collection, Iterable, Sequence

# An underscore inside a word is only an underscore; at its edge it may be emphasis.
_MEANING = re.compile(r"([\\`*\[\]<>|&~$]|(?<![^\W_])_|_(?![^\W_]))")
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~$:&^=\"'])")
_SPACES = re.compile(r"[^\S\u00a0]+")  # a space that does not break keeps its words together
_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # turn the direction of the text behind them


def markdown(words: object, everywhere: bool = False) -> str:
    """Words on one line for Markdown, every character that means something inside a line or in HTML escaped.

    `everywhere`: those too that mean something at the start of a line only, or to Streamlit, whose Markdown knows emoji, colours and formulas.
    """
    return (_PUNCTUATION if everywhere else _MEANING).sub(r"\\\1", _line(words))


def html(words: str) -> str:
    """Words for HTML, lines kept; control characters that would vanish or reorder the page become visible."""
    return html_library.escape(visible(words), quote=True)


def visible(words: str) -> str:
    """Words, lines kept, in which control characters that would vanish, reorder the line or steer a terminal are shown instead."""
    return "".join(map(_visible, words))


def pipe_table(columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: Collection[str] = (), marked_up: bool = False) -> str:
    """A Markdown table, each line ended; columns named in `numbers` are aligned to the right, None is an empty cell.

    `marked_up`: the cells are Markdown of our own, of which only the bars between cells are escaped; otherwise they are words of others.
    """
    shown = _bars if marked_up else markdown
    marks = ["---:" if name in numbers else "---" for name in columns]
    lines = [[shown(name) for name in columns], marks, *([shown("" if value is None else value) for value in row] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _line(words: object) -> str:
    return _SPACES.sub(" ", str(words)).strip()


def _bars(words: object) -> str:
    return _line(words).replace("|", "\\|")


def _visible(character: str) -> str:
    code = ord(character)
    if character in "\n\t" or (code >= 0x20 and not 0x7F <= code < 0xA0 and character not in _TURNS):
        return character
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"
