"""What the documentation shows: its pages, the code blocks in them, and every `personascope` command a reader may type."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(?:\.venv/bin/)?(personascope(?: [^`]+)?)`")
_TYPED = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?(personascope(?: .*)?)$")


@dataclass(frozen=True)
class Block:
    """A code block of a page; `title` is the file it belongs in, where it says one."""

    page: Path
    language: str
    title: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    """Every code block of a page."""
    return [Block(page, match["language"], match["title"], match["text"]) for match in _FENCE.finditer(page.read_text(encoding="utf-8"))]


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def typed_commands(page: Path) -> list[list[str]]:
    """Words of every command line in the shell blocks of a page, comments left out."""
    lines = [line for block in blocks(page) if block.language in ("sh", "") for line in block.text.replace("\\\n", " ").splitlines()]
    return [shlex.split(match[1], comments=True)[1:] for line in lines if (match := _TYPED.match(line.strip()))]


def mentioned_commands(page: Path) -> list[list[str]]:
    """Words of every command that stands inside a sentence, which may leave arguments out."""
    return [shlex.split(match)[1:] for match in _INLINE.findall(prose(page).replace("…", "X"))]
