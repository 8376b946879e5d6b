"""What the documentation shows: its pages, the code blocks in them, and every `personascope` command a reader may type."""

import ast
import re
import shlex
from collections.abc import Iterator
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


def typed_lines(page: Path) -> list[str]:
    """Every command line in the shell blocks of a page, as it is typed."""
    lines = [line for block in blocks(page) if block.language in ("sh", "") for line in block.text.replace("\\\n", " ").splitlines()]
    return [match[1] for line in lines if (match := _TYPED.match(line.strip()))]


def typed_commands(page: Path) -> list[list[str]]:
    """Words of every command line in the shell blocks of a page, comments left out."""
    return [shlex.split(line, comments=True)[1:] for line in typed_lines(page)]


def mentioned_commands(page: Path) -> list[list[str]]:
    """Words of every command that stands inside a sentence, which may leave arguments out."""
    return [shlex.split(match)[1:] for match in _INLINE.findall(prose(page).replace("…", "X"))]


def told_commands(module: Path) -> list[list[str]]:
    """Words of every command that the sentences of a module tell a user to type; what is filled in at run time is X."""
    return [shlex.split(match)[1:] for text in _texts(ast.parse(module.read_text(encoding="utf-8"))) for match in _INLINE.findall(text.replace("…", "X"))]


def _texts(tree: ast.AST) -> Iterator[str]:
    """The strings of a tree, those with fields as one."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        else:
            yield from _texts(node)
