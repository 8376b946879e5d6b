"""Writes the generated parts of README.md, and docs/views.md, from the code: `python tests/readme.py`; tests/test_docs.py fails while they are stale.

A part of the README stands between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

import re
import sys
from pathlib import Path

import typer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from personascope.cli import app  # noqa: E402
from personascope.warehouse.asking.audit import checks  # noqa: E402
from personascope.warehouse.asking.shapes import view_types  # noqa: E402
from personascope.warehouse.asking.views import views  # noqa: E402
from personascope.warehouse.store.schema import tables  # noqa: E402

README = ROOT / "README.md"
COLUMNS = ROOT / "docs" / "views.md"


def commands(group=None, prefix: str = "personascope") -> list[tuple[str, str]]:
    """Every command as typed, with the first sentence of its help."""
    group = group or typer.main.get_command(app)
    found = []
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            found += commands(command, f"{prefix} {name}")
        else:
            words = [(parameter.metavar or parameter.name).upper() for parameter in command.params if parameter.param_type_name == "argument"]
            found.append((" ".join([prefix, name, *words]), (command.help or "").split("\n")[0]))
    return found


def parts() -> dict[str, str]:
    """The generated parts by name."""
    rows = [(f"`{typed}`", help) for typed, help in commands()]
    listed = [(f"`{view.name}`", f"{view.meaning} (per {view.grain})") for _, view in sorted(views().items()) if not view.severity]
    checked = [(f"`{name}`", f"{view.severity}: {view.meaning}") for name, view in sorted(checks().items())]
    stored = [(f"`{table.name}`", table.meaning) for _, table in sorted(tables().items())]
    return {"commands": _table("command", rows), "views": _table("view", listed), "tables": _table("table", stored), "checks": _table("check", checked)}


def fill(text: str) -> str:
    """README text with every generated part as it should be."""
    made = parts()
    return re.sub(rf"(<!-- ({'|'.join(made)}) -->\n).*?(<!-- /\2 -->)", lambda match: match[1] + made[match[2]] + match[3], text, flags=re.DOTALL)


def column_docs() -> str:
    """docs/views.md: every table and view with the meaning of each column."""
    lines = [
        "# Tables and views, column by column",
        "",
        "Generated from the headers in `sql/`; `personascope views NAME` shows the same with types and SQL.",
        "",
    ]
    for _, table in sorted(tables().items()):
        lines += [f"## `{table.name}` (table)", "", f"{table.meaning}. One row per {', '.join(table.key)}.", ""]
        lines += [_table("column", [(f"`{column}`", table.docs[column]) for column in table.columns])]
    shapes = view_types(views())
    for name, view in sorted(views().items()):
        lines += [f"## `{name}`", "", f"{view.meaning}. One row per {view.grain}.", "", f"Source: {view.source}.", ""]
        lines += [_table("column", [(f"`{column}`", view.doc(column)) for column in shapes[name]])]
    return "\n".join(lines)


def _table(head: str, rows: list[tuple[str, str]]) -> str:
    return "".join(f"| {left} | {right.replace('|', '/')} |\n" for left, right in [(head, "what it is"), ("---", "---"), *rows])


if __name__ == "__main__":
    README.write_text(fill(README.read_text(encoding="utf-8")), encoding="utf-8")
    COLUMNS.write_text(column_docs(), encoding="utf-8")
