"""Named queries: what is saved is read again, nothing is overwritten in silence, and what is no query is left out and named."""

import errno
import os

import pytest

from personascope.warehouse.asking import named
from personascope.warehouse.asking.doctor import examine
from personascope.warehouse.asking.named import NamedQuery
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

QUERY = NamedQuery("by-layer", "Rows by layer.\nTwo lines.", "select 1 as layer,\n  2 as n -- a comment", {"kind": "line", "x": "layer", "y": "n"})


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake.open(tmp_path / "lake")


def test_a_query_is_read_as_it_was_saved(lake):
    path = named.save(lake, QUERY)
    assert path == lake.root / "queries" / "by-layer.sql"
    assert path.read_text() == "-- Rows by layer.\n-- Two lines.\n-- chart: line x=layer y=n\n" + QUERY.sql + "\n"
    assert named.saved(lake) == {"by-layer": QUERY} and named.find(lake, "@by-layer") == QUERY
    assert not list(lake.staging_folder.iterdir()) and not lake.contents().strays


def test_a_column_that_the_comment_cannot_hold_costs_the_chart_and_not_its_meaning(lake):
    named.save(lake, NamedQuery("q", "", "select 1", {"kind": "line", "x": "a b", "y": "n"}))
    assert named.find(lake, "q") == NamedQuery("q", "", "select 1")


def test_nothing_is_overwritten_in_silence(lake):
    named.save(lake, QUERY)
    other = NamedQuery("by-layer", "", "select 2")
    with pytest.raises(PersonascopeError, match="is there already; say that it is to be replaced"):
        named.save(lake, other)
    assert named.find(lake, "by-layer") == QUERY
    named.save(lake, other, replace=True)
    assert named.find(lake, "by-layer") == other


def test_a_file_system_without_links_overwrites_nothing_either(lake, monkeypatch):
    def no_links(self, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.hardlink_to", no_links)
    named.save(lake, QUERY)
    with pytest.raises(PersonascopeError, match="is there already"):
        named.save(lake, QUERY)


@pytest.mark.parametrize("name", ["", "Q", "../q", "a/b", ".q", "-q", "q.sql", "q" * 64, "q\n", "é"])
def test_a_name_that_is_no_file_name_is_told_off(lake, name):
    with pytest.raises(PersonascopeError, match="expected 1 to 63 small letters"):
        named.save(lake, NamedQuery(name, "", "select 1"))
    assert not (lake.root / "queries").exists()


def test_a_name_that_ships_an_empty_query_and_half_a_character_are_told_off(lake):
    with pytest.raises(PersonascopeError, match="ships with personascope"):
        named.save(lake, NamedQuery(next(iter(named.examples())), "", "select 1"))
    with pytest.raises(PersonascopeError, match="expected 1 to 200,000 characters, found 0"):
        named.save(lake, NamedQuery("q", "", " \n"))
    with pytest.raises(PersonascopeError, match="half of a surrogate pair"):
        named.save(lake, NamedQuery("q", "", "select '\ud800'"))
    assert not list((lake.root / "queries").iterdir())


def test_a_lake_that_cannot_be_written_says_so(lake, monkeypatch):
    def read_only(_staging):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(named, "scratch", read_only)
    with pytest.raises(PersonascopeError, match=r"cannot be written \(Read-only file system\); expected a lake you may write to"):
        named.save(lake, QUERY)


def test_what_is_no_query_is_left_out_and_named(lake, tmp_path):
    named.save(lake, QUERY)
    folder = lake.root / "queries"
    (folder / "Big Name.sql").write_text("select 1")
    (folder / "notes.txt").write_text("select 1")
    (folder / "bytes.sql").write_bytes(b"\xff\xfe")
    (folder / "empty.sql").write_text("-- only words\n")
    (folder / ".hidden.sql").write_text("select 1")
    (tmp_path / "outside.sql").write_text("select 1")
    (folder / "linked.sql").symlink_to(tmp_path / "outside.sql")
    assert list(named.saved(lake)) == ["by-layer"]
    assert {name for name, _ in named.strays(lake)} == {"Big Name.sql", "notes.txt", "bytes.sql", "empty.sql", "linked.sql"}
    with pytest.raises(PersonascopeError, match=r"query @bytes is not read \(no UTF-8 text\)"):
        named.find(lake, "@bytes")
    found = {finding.subject: finding for finding in examine(lake)}
    assert found["queries"].level == "ok" and found["queries"].message.startswith("1 saved query")
    assert found["queries/empty.sql"].message == "left out: holds no query" and not [each for each in found.values() if each.level == "error"]


def test_a_folder_of_queries_elsewhere_is_neither_read_nor_written(lake, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (lake.root / "queries").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "q.sql").write_text("select 1")
    assert named.saved(lake) == {} and [name for name, _ in named.strays(lake)] == ["queries"]
    with pytest.raises(PersonascopeError, match="a folder of files of this lake itself"):
        named.save(lake, QUERY)


def test_the_command_line_lists_and_asks_named_queries(personascope, lake):
    named.save(lake, NamedQuery("mine", "One row.", "select 41 + 1 as answer"))
    assert personascope("sql", "@mine", "--lake", lake.root)[:2] == (0, "answer\n42\n")
    code, out, _ = personascope("sql", "--list", "--lake", lake.root)
    assert code == 0 and out.splitlines()[:2] == ["name,from,answers", "@mine,lake,One row."] and "@marker-rates,example," in out
    code, _, err = personascope("sql", "@mein", "--lake", lake.root)
    assert code == 1 and "query @mein is unknown; did you mean 'mine'?" in err
    assert personascope("runs", "list", "--lake", lake.root)[0] == 0
