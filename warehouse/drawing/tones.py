"""How the words by which something is judged look, in one place: in a terminal, on a page, and in the app.

Colours on a page have a contrast of at least 4.5 to white, so that they serve for letters on white and for white letters on them.
"""

from dataclasses import dataclass

from personascope.warehouse.claims.checking import VerdictWord


@dataclass(frozen=True)
class Tone:
    """One look: a style of rich for the terminal, a colour of HTML, and the name of a colour and an icon that Streamlit knows."""

    terminal: str
    colour: str
    badge: str
    icon: str


GOOD = Tone("green", "#00704f", "green", ":material/check_circle:")
DOUBTFUL = Tone("yellow", "#8a6100", "orange", ":material/warning:")
BAD = Tone("bold red", "#b03a00", "red", ":material/error:")
SILENT = Tone("dim", "#5b5e68", "blue", ":material/info:")

# In the order in which they are shown: what a reader must know first.
VERDICTS: dict[VerdictWord, Tone] = {"contradicted": BAD, "imprecise": DOUBTFUL, "not derivable": SILENT, "confirmed": GOOD}
SEVERITIES = {"error": BAD, "warning": DOUBTFUL, "note": SILENT}
LEVELS = {"ok": GOOD, "note": DOUBTFUL, "error": BAD}  # of what doctor finds
