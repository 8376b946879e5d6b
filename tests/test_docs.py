"""Documentation that fails the build when stale: commands, views, columns, tables, and the README's promises."""

import re
from pathlib import Path

import pytest

from personascope.warehouse.store.schema import tables
from readme import COLUMNS, README, column_docs, commands, fill, parts

ROOT = Path(__file__).resolve().parent.parent


def test_the_generated_parts_of_the_readme_are_current():
    text = README.read_text(encoding="utf-8")
    assert all(f"<!-- {name} -->" in text for name in parts())
    assert fill(text) == text, "README.md is stale: run `.venv/bin/python tests/readme.py`"


def test_the_column_docs_are_current():
    assert COLUMNS.read_text(encoding="utf-8") == column_docs(), "docs/views.md is stale: run `.venv/bin/python tests/readme.py`"


def test_every_command_says_what_it_does():
    assert [typed for typed, help in commands() if len(help) < 10] == []


def test_every_option_says_what_it_means():
    import typer

    from personascope.cli import app

    def silent(command, prefix=""):
        for name, each in getattr(command, "commands", {}).items():
            yield from silent(each, f"{prefix} {name}")
        for parameter in command.params:
            if parameter.name != "help" and not getattr(parameter, "help", None):
                yield f"{prefix} {parameter.name}"

    assert list(silent(typer.main.get_command(app))) == []


@pytest.mark.parametrize("name", sorted(tables()))
def test_every_table_and_column_is_documented(name):
    table = tables()[name]
    assert table.meaning and table.key and set(table.key) | set(table.sort) <= set(table.columns)
    assert [column for column in table.columns if not table.docs[column]] == []


def test_files_and_studies_the_readme_names_exist():
    text = README.read_text(encoding="utf-8")
    for path in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (ROOT / path).exists(), path
