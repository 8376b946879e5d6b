"""Documentation that fails the build when stale: generated parts, links, files, commands with their options, queries, quoted errors, and the built site."""

import re
import shutil
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.text import Text

from docs_blocks import PAGES, ROOT, blocks, mentioned_commands, prose, told_commands, typed_commands, typed_lines
from docs_generator import DOCS, GENERATED, STALE, STUDY_KEYS, commands, fill, pages, parts_once
from personascope.cli import app
from personascope.extract.registry import extractors
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.schema import tables
from personascope.warehouse.studies.reading import Variant, read_study, study_names

TOP = ("ingest", "extract", "warehouse", "sql", "study", "app_pages", "mlflow", "docs", "examples", "tests")
WINGS = ("app_pages", "extract", "ingest", "study", "warehouse")
TO_COME = {ROOT / block.title for page in (DOCS / "extending").glob("*.md") for block in blocks(page) if block.title}  # files that the examples add
MADE_LATER = ("surprisal", "persona_surprisal", "audit_worse_than_guessing")  # tables and views that the examples add
WRITTEN = [page for page in PAGES if GENERATED not in page.read_text(encoding="utf-8")]
named = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@pytest.mark.slow(2)
def test_the_generated_pages_are_current():
    stale = [name for name, text in pages().items() if not (DOCS / name).is_file() or (DOCS / name).read_text(encoding="utf-8") != text]
    assert stale == [], f"{stale} {STALE}"


@pytest.mark.slow(5)
def test_the_generated_parts_are_current_and_each_stands_somewhere():
    texts = {page: page.read_text(encoding="utf-8") for page in WRITTEN}
    stale = [page.name for page, text in texts.items() if fill(text) != text]
    assert stale == [], f"{stale} {STALE}"
    assert [name for name in parts_once() if not any(f"<!-- {name} -->" in text for text in texts.values())] == []


def test_the_readme_is_one_page_with_two_commands_first():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    first = "\n".join(lines[:20])
    assert "![" in first and "make demo" in first and "make test" in first


def test_every_command_and_option_says_what_it_means():
    assert [typed for typed, command in commands() if len(command.help or "") < 10] == []

    def silent(command, prefix=""):
        for name, each in getattr(command, "commands", {}).items():
            yield from silent(each, f"{prefix} {name}")
        for parameter in command.params:
            if parameter.name != "help" and not getattr(parameter, "help", None):
                yield f"{prefix} {parameter.name}"

    assert list(silent(typer.main.get_command(app))) == []


def test_help_loses_nothing_to_the_markup_of_the_terminal():
    texts = {f"{typed} {each.name}": each.help or "" for typed, command in commands() for each in command.params}
    assert [where for where, text in texts.items() if Text.from_markup(text).plain != text] == []


def test_every_setting_of_an_extractor_and_every_key_of_a_study_says_what_it_means():
    kinds = {name: kind.settings_type for name, kind in extractors().items()} | {kind.__name__: kind for kind in STUDY_KEYS}
    assert [f"{name}.{field}" for name, kind in kinds.items() for field, info in kind.model_fields.items() if not info.description] == []


@pytest.mark.parametrize("name", sorted(tables()))
def test_every_table_and_column_is_documented(name):
    table = tables()[name]
    assert table.meaning and table.key and set(table.key) | set(table.sort) <= set(table.columns)
    assert [column for column in table.columns if not table.docs[column]] == []


@named
def test_links_lead_somewhere(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        file = (page.parent / path).resolve() if path else page
        if (not file.is_file() and not file.is_dir()) or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as mkdocs makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    words = (re.sub(r"\]\([^)]*\)", "", heading).replace("[", "") for heading in headings)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", each).strip().lower()) for each in words}


@named
def test_files_and_folders_that_are_named_exist(page):
    paths = re.findall(rf"`((?:{'|'.join(TOP)})/[\w./-]*)`", prose(page))
    missing = [path for path in paths if not (ROOT / path).exists() and ROOT / path not in TO_COME and ROOT / path.rstrip("/") not in TO_COME]
    assert [path for path in missing if not re.search(r"[A-Z]{3}|tracking\.db|bench-lake", path)] == []


@cache
def program() -> Any:
    """All commands as click has them, which takes a while to make."""
    return typer.main.get_command(app)


def parsed(words: list[str], arguments_may_lack: bool) -> str | None:
    """None where the command line is one the program takes, else why not; nothing is run."""
    command = program()
    context = command.make_context("personascope", [], resilient_parsing=True)
    while hasattr(command, "commands"):
        if not words or words[0].startswith("-"):
            known = {flag for parameter in command.params for flag in parameter.opts} | {"-h", "--help", "--install-completion", "--show-completion"}
            return None if set(words) <= known else f"no option {words}"
        if words[0] not in command.commands:
            return f"no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
        context = type(context)(command, info_name=command.name, parent=context)
    try:
        command.parse_args(context, list(words))
    except Exception as error:  # typer vendors click, so its classes are not click's
        if type(error).__name__ == "MissingParameter" and arguments_may_lack:
            return None
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"
    return None


@named
def test_commands_and_options_that_are_named_exist(page):
    wrong = {" ".join(words): why for words in typed_commands(page) if (why := parsed(words, arguments_may_lack=False))}
    wrong |= {" ".join(words): why for words in mentioned_commands(page) if (why := parsed(words, arguments_may_lack=True))}
    assert wrong == {}


@named
def test_commands_can_be_typed_in_every_shell(page):
    """Outside quotes zsh takes brackets for a pattern of file names, and ends where none fits."""
    bare = {line: re.sub(r"'[^']*'|\"[^\"]*\"", "", line).partition(" #")[0] for line in typed_lines(page) if "[OPTIONS]" not in line}
    assert [line for line, rest in bare.items() if re.search(r"[\[*?]", rest)] == []


def test_commands_that_the_program_tells_to_type_exist():
    told = [(module.relative_to(ROOT).as_posix(), words) for wing in WINGS for module in sorted((ROOT / wing).rglob("*.py")) for words in told_commands(module)]
    assert len(told) > 40
    assert {f"{module}: {' '.join(words)}": why for module, words in told if (why := parsed(words, arguments_may_lack=True))} == {}


@named
def test_checkpoints_that_are_given_to_a_study_are_of_its_variant(page):
    wrong = []
    for words in (words for words in typed_commands(page) if words[0] == "run" and words[1] in study_names()):
        variant: Variant = "quick" if "--quick" in words else "small" if "--small" in words else "full"
        parts = {words[place + 1].partition("=")[0] for place, word in enumerate(words) if word in ("--checkpoint", "--base")}
        wrong += [" ".join(words) for part in parts if part not in read_study(words[1], variant).checkpoints]
    assert wrong == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["rum", "echo"], "no command 'rum'"),
        (["run", "echo", "--qick"], "NoSuchOption"),
        (["run"], "MissingParameter"),
        (["audit", "--severity", "grave"], "BadParameter"),
        (["--versoin"], "no option"),
    ],
)
def test_a_command_there_is_not_is_found(words, reason):
    assert reason in (parsed(words, arguments_may_lack=False) or "")


def test_there_are_commands_to_check():
    assert sum(len(typed_commands(page)) for page in PAGES) > 40
    assert sum(len(mentioned_commands(page)) for page in PAGES) > 40


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory) -> Warehouse:
    """A lake without runs: a query that names a view or column there is not fails on it too."""
    return Warehouse(Lake.open(tmp_path_factory.mktemp("empty") / "lake"))


@pytest.mark.slow(7)
@named
def test_queries_that_are_shown_work(page, warehouse):
    shown = [words[1] for words in typed_commands(page) + mentioned_commands(page) if words[:1] == ["sql"] and len(words) > 1 and not words[1].startswith("-")]
    shown += [text for block in blocks(page) for text in re.findall(r"lake\.sql\(\"([^\"$]+)\"\)", block.text)]
    shown += re.findall(r"duckdb -readonly \S+ \"([^\"]+)\"", page.read_text(encoding="utf-8"))
    asked = [query for query in shown if not set(re.findall(r"\w+", query)) & {*MADE_LATER, "NAME", "QUERY"}]
    for query in asked:
        warehouse.select(query)
    assert len(shown) - len(asked) <= 4


def test_errors_that_are_quoted_are_those_the_program_says():
    sources = [path.read_text(encoding="utf-8") for folder in TOP[:6] for path in (ROOT / folder).rglob("*.py")]
    code = re.sub(r"\{\{|\}\}", "", re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources)))  # sentences over several lines become one
    quoted = re.findall(r"^> (.+)$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    pieces = [piece.strip(" …") for sentence in quoted for piece in re.split(r"…", sentence)]
    assert len(quoted) > 25
    assert [piece for piece in pieces if len(piece) > 3 and piece not in code] == []


class Fetched(HTMLParser):
    """What a browser would fetch by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag != "a" and not (tag == "link" and given.get("rel") in ("canonical", "next", "prev")):
            self.addresses += [value for name in ("src", "href", "data") if (value := given.get(name))]


@pytest.mark.slow(15)
def test_the_site_is_built_strictly_and_fetches_nothing(tmp_path):
    found = shutil.which("mkdocs", path=str(Path(sys.executable).parent))
    assert found, "mkdocs is part of the dev extra: pip install -e '.[dev]'"
    done = subprocess.run([found, "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    built = sorted((tmp_path / "site").rglob("*.html"))
    assert len(built) > len(list(DOCS.rglob("*.md")))  # one more: 404
    for page in built:
        reader = Fetched()
        reader.feed(page.read_text(encoding="utf-8"))
        assert [address for address in reader.addresses if re.match(r"(https?:)?//", address)] == [], page
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style
