"""Compact files hold the rows of many runs once more: every view answers the same, and whatever happens to a run, no row is seen that is not its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from lakes import count, of_completions, write
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from personascope.cli import app
from personascope.warehouse.asking import catalogue, doctor
from personascope.warehouse.asking.doctor import examine
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.views import SHARED, views
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import compaction
from personascope.warehouse.store.compact import FOLDER, SAYS
from personascope.warehouse.store.hashing import file_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.schema import tables
from personascope.warehouse.store.transfer import export

pytestmark = pytest.mark.slow(15)


@pytest.fixture
def lake(tmp_path, tmp_path_factory) -> Lake:
    made = of_completions(tmp_path_factory, tmp_path / "lake", {f"c{number}": number + 1 for number in range(4)})
    catalogue.build(made)
    return made


def typed(lake: Lake, *arguments: str, code: int = 0) -> str:
    found = CliRunner().invoke(app, ["runs", *arguments, "--lake", str(lake.root)])
    assert found.exit_code == code, found.output + repr(found.exception)
    return found.output


def files(lake: Lake) -> list[str]:
    """What is read for the completions of a lake, `compact` for a compact file."""
    text = catalogue.table_definitions(lake, lake.contents())["completions"]
    return ["compact" if f"/{FOLDER}/" in path else Path(path).parent.name for path in text.split("'") if path.endswith(".parquet")]


def in_shell(lake: Lake) -> list[tuple[str, int]]:
    with duckdb.connect(str(lake.catalogue_path), read_only=True) as shell:
        return shell.execute("select run_id, count(*) from completions group by 1 order by 1").fetchall()


def errors(lake: Lake) -> list[str]:
    return [f"{each.subject}: {each.message}" for each in examine(lake) if each.level == "error"]


@pytest.mark.slow(40)
def test_every_table_and_view_answers_as_before(planted_lake, tmp_path):
    lake = planted_lake.copy(tmp_path / "lake")
    before = Warehouse(Lake.existing(lake.root), kept=SHARED)
    for name in SHARED:
        before.select(f"from {name} limit 0")
    typed(lake, "compact")
    assert lake.contents().compacted == set(lake.run_ids()) and not errors(lake)
    after = Warehouse(Lake.existing(lake.root), kept=SHARED)
    for name in [*tables(), *views()]:  # sums over runs may differ in their last digits, as they do from one order of the rows to another
        expected, found = (each.select(f"from {name} order by all") for each in (before, after))
        assert_frame_equal(expected, found, rel_tol=1e-12, abs_tol=1e-15)


def test_one_file_a_table_sorted_by_subject_and_later_runs_beside_it(lake):
    runs, shell = lake.run_ids(), in_shell(lake)
    said = typed(lake, "compact")
    assert "4 runs of no study in" in said and count(lake) == 10 and in_shell(lake) == shell
    assert files(lake) == ["_schema", "compact"]
    (compact,) = lake.contents().compacts
    rows = pq.read_table(lake.root / FOLDER / compact.name / "completions.parquet", columns=["checkpoint"])["checkpoint"].to_pylist()
    assert rows == sorted(rows) and list(compact.runs) != runs
    later = write(lake, "c9", 5)
    assert count(lake) == 15 and files(lake) == ["_schema", "compact", later]
    typed(lake, "compact", *runs)
    typed(lake, "compact")
    assert files(lake) == ["_schema", "compact"] and count(lake) == 15
    assert len(list((lake.root / FOLDER).iterdir())) == 1 and not (lake.root / FOLDER / compact.name).exists()
    assert "5 runs read from their own files again" in typed(lake, "compact", "--undo")
    assert not lake.contents().compacts and count(lake) == 15 and sum(n for _, n in in_shell(lake)) == 15


def test_a_shell_reads_the_runs_own_files_before_the_compact_ones_go(lake, monkeypatch):
    typed(lake, "compact")
    shell, drop = [], catalogue.drop

    def asked(of: Lake, names: list[str]) -> None:
        with duckdb.connect(str(of.catalogue_path), read_only=True) as connection:
            (sql,) = connection.execute("select sql from duckdb_views() where view_name = 'completions'").fetchone() or ("",)
            shell.append(("/compact/" in sql, connection.execute("select count(*) from completions").fetchall()))
        drop(of, names)

    before = count(lake)
    monkeypatch.setattr(catalogue, "drop", asked)
    typed(lake, "compact", "--undo")
    assert (False, [(before,)]) in shell and not any(is_compact for is_compact, _ in shell)


def test_compact_files_that_another_process_removes_while_they_are_bound_are_done_without(lake, monkeypatch):
    before, copy_views, stored_rows = count(lake), catalogue.copy_views, doctor.stored_rows

    def gone(*arguments: Any) -> None:
        shutil.rmtree(lake.root / FOLDER, ignore_errors=True)
        copy_views(*arguments)

    def of_runs(*arguments: Any) -> dict[str, str]:
        shutil.rmtree(lake.root / FOLDER)
        return stored_rows(*arguments)

    for bound in (lambda: catalogue.build(lake), lambda: catalogue.connect(lake).close()):
        typed(lake, "compact")
        lake.catalogue_path.unlink()
        with monkeypatch.context() as patch:
            patch.setattr(catalogue, "copy_views", gone)
            bound()
        assert not (lake.root / FOLDER).exists()
        catalogue.build(lake)
        assert sum(n for _, n in in_shell(lake)) == before
    typed(lake, "compact")
    monkeypatch.setattr(doctor, "stored_rows", of_runs)
    assert errors(lake) == []


def test_a_run_that_is_deleted_made_anew_or_renewed_takes_its_compact_files_with_it(lake):
    one, two = lake.run_ids()[:2]
    typed(lake, "compact")
    open_already = Warehouse(lake)
    assert open_already.select("select count(*) from completions").item() == 10
    of = {name: sum(1 for _ in pq.read_table(lake.run_folder(name) / "completions.parquet")["run_id"]) for name in (one, two)}
    assert "3 runs beside it are read from their own files again" in typed(lake, "delete", one, "--yes")
    assert open_already.select("select count(*) from completions").item() == 10 - of[one]
    assert not list((lake.root / FOLDER).iterdir()) and sum(n for _, n in in_shell(lake)) == 10 - of[one]
    typed(lake, "compact")
    name = lake.manifest(two).checkpoint
    assert name is not None
    write(lake, name, 7, force=True)
    assert lake.contents().stale and count(lake) == 10 - of[one] - of[two] + 7
    catalogue.build(lake)
    assert not list((lake.root / FOLDER).iterdir())


def test_what_was_damaged_or_forged_is_not_read_or_found_by_doctor(lake, tmp_path):
    one, two = lake.run_ids()[:2]
    typed(lake, "compact")
    (compact,) = lake.contents().compacts
    place = lake.root / FOLDER / compact.name
    rows, says = pq.read_table(place / "completions.parquet"), (place / SAYS).read_text()
    assert not errors(lake)
    pq.write_table(rows.slice(1), place / "completions.parquet")
    assert errors(lake) == [f"compact/{compact.name}: completions.parquet is not the file that was written"]
    other = Lake(Path(str(lake.root) + "-copied"))
    lake.root.rename(other.root)
    assert "number of rows" in other.contents().stale[compact.name] and count(other) == 10
    moved = other.root / FOLDER / compact.name
    forged = rows.set_column(rows.schema.get_field_index("text"), rows.schema.field("text"), [["other"] * rows.num_rows])
    pq.write_table(forged, moved / "completions.parquet")
    document = json.loads(says)
    document["tables"]["completions"]["blake2"] = file_hash(moved / "completions.parquet")
    (moved / SAYS).write_text(json.dumps(document))
    unequal, elsewhere = errors(other)
    assert unequal == f"compact/{compact.name}: completions.parquet holds other rows than 4 of its runs, {min(other.run_ids())} among them"
    assert elsewhere.startswith(f"catalogue: warehouse.duckdb reads the runs of another place ({lake.root})")
    typed(other, "compact", "--undo")
    assert not errors(other)
    (other.run_folder(one) / "completions.parquet").write_bytes((other.run_folder(two) / "completions.parquet").read_bytes())
    with pytest.raises(PersonascopeError, match=rf"run {one}: completions.parquet is not the file that was committed"):
        compaction.compact(other, other.run_ids())
    assert not other.contents().compacts and not list(other.staging_folder.iterdir())


def test_links_and_names_that_lead_out_of_the_lake_are_not_followed(lake):
    typed(lake, "compact")
    (compact,) = lake.contents().compacts
    place = lake.root / FOLDER / compact.name
    file = place / "completions.parquet"
    file.rename(lake.root / "elsewhere.parquet")
    file.symlink_to(lake.root / "elsewhere.parquet")
    assert "no file of its own" in lake.contents().stale[compact.name] and count(lake) == 10
    for text in ("{", json.dumps(json.loads((place / SAYS).read_text()) | {"name": "../runs"})):
        (place / SAYS).write_text(text)
        assert lake.contents().stale.keys() == {compact.name} and count(lake) == 10
    catalogue.build(lake)
    assert (lake.root / "elsewhere.parquet").is_file() and not place.exists()


def test_what_is_carried_away_are_the_runs_themselves(lake, tmp_path):
    export(lake, lake.run_ids(), tmp_path / "before.tar")
    typed(lake, "compact")
    export(lake, lake.run_ids(), tmp_path / "after.tar")
    assert (tmp_path / "before.tar").read_bytes() == (tmp_path / "after.tar").read_bytes()


def test_what_cannot_be_compacted_is_told(lake, tmp_path):
    for arguments in (["--study", "x", lake.run_ids()[0]], ["--study", "x"], ["nobody"]):
        result = CliRunner().invoke(app, ["runs", "compact", *arguments, "--lake", str(lake.root)])
        assert isinstance(result.exception, PersonascopeError), arguments
