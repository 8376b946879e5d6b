"""The lake: runs appear whole or not at all, killed ones resume, the same work is recognised, bad rows are refused."""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import SCHEMA_RUN, Lake
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.schema import tables
from personascope.warehouse.store.writer import RunWriter


def spec(**changes):
    fields: dict[str, Any] = {"kind": "extract", "extractor": "attention", "version": 1, "identity": {"a": 1}, "checkpoint": "base", "subject": "base_villain"}
    fields["constants"] = {"persona": "villain", "tokens_run": "completions-0"}
    return RunSpec(**(fields | changes))


def start(lake: Lake, asked: RunSpec, plan: str = "") -> RunWriter:
    """The writer of a run that the lake does not hold."""
    writer = lake.start(asked, plan)
    assert writer is not None
    return writer


def rows(example, n_layers=2, n_heads=3):
    return [
        {"example_id": example, "sample_ix": 0, "position": 7, "layer": layer, "head": head, "system": 0.1 * head, "row_sum": 1.0}
        for layer in reversed(range(n_layers))
        for head in range(n_heads)
    ]


def test_a_run_is_invisible_until_it_is_committed(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec())
    writer.write_part("0", {"attention": rows("villain/q00")})
    assert lake.run_ids() == []
    manifest = writer.commit({"n": 1})
    assert lake.run_ids() == [spec().run_id]
    assert manifest.tables["attention"].rows == 6
    assert not any(lake.staging_folder.iterdir())


def test_rows_are_sorted_filled_with_constants_and_averaged_over_heads(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec())
    writer.write_part("1", {"attention": rows("villain/q01")})
    writer.write_part("0", {"attention": rows("villain/q00")})
    run_id = writer.commit().run_id
    stored = lake.read(run_id, "attention").to_pylist()
    keys = [(row["layer"], row["head"], row["example_id"]) for row in stored]
    assert keys == sorted(keys)
    assert {(row["run_id"], row["checkpoint"], row["subject"], row["persona"]) for row in stored} == {(run_id, "base", "base_villain", "villain")}
    means = lake.read(run_id, "attention_mean").to_pylist()
    assert len(means) == 4 and all(math.isclose(row["system"], 0.1, rel_tol=1e-6) and row["n_heads"] == 3 for row in means)


def test_sorting_in_memory_and_in_duckdb_give_the_same_rows(tmp_path, monkeypatch):
    stored = []
    for limit in (0, 200_000):
        monkeypatch.setattr("personascope.warehouse.store.writer.SORTED_IN_MEMORY", limit)
        lake = Lake.open(tmp_path / str(limit))
        writer = start(lake, spec())
        for part in ("b", "a"):
            writer.write_part(
                part, {"attention": rows(f"villain/{part}"), "positions": [{"stratum": name, "example_id": part, "position": 1} for name in ("C1", None, "B")]}
            )
        run_id = writer.commit().run_id
        stored.append([lake.read(run_id, table) for table in ("attention", "attention_mean", "positions")])
    assert stored[0] == stored[1]


def test_floats_are_byte_stream_split_and_names_dictionary_encoded(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec())
    writer.write_part("0", {"attention": rows("villain/q00")})
    group = pq.ParquetFile(lake.run_folder(writer.commit().run_id) / "attention.parquet").metadata.row_group(0)
    encodings = {group.column(index).path_in_schema: group.column(index).encodings for index in range(group.num_columns)}
    assert "BYTE_STREAM_SPLIT" in encodings["system"]
    assert "RLE_DICTIONARY" in encodings["subject"]


def test_the_same_work_is_recognised_and_force_replaces_it(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec())
    writer.write_part("0", {"attention": rows("villain/q00")})
    first = writer.commit()
    assert lake.start(spec()) is None
    again = lake.start(spec(), force=True)
    again.write_part("0", {"attention": rows("villain/q05")})
    assert lake.manifest(first.run_id).started == first.started
    again.commit()
    assert lake.read(first.run_id, "attention", ["example_id"])[0][0].as_py() == "villain/q05"
    assert lake.run_ids() == [first.run_id]


def test_identity_decides_the_run_id_and_nothing_else_does():
    assert spec().run_id == spec(study="other", device="cuda").run_id
    assert spec().run_id != spec(identity={"a": 2}).run_id
    assert spec().run_id != spec(version=2).run_id


def test_a_killed_run_resumes_under_the_same_plan_and_starts_over_under_another(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec(), plan="p")
    writer.write_part("0", {"attention": rows("villain/q00")})
    (writer.folder / "parts-p" / ".half").mkdir()
    writer.close()
    resumed = start(lake, spec(), plan="p")
    assert resumed.done == {"0"}
    resumed.close()
    assert start(lake, spec(), plan="other").done == set()


@pytest.mark.parametrize("limit", [0, 10**6])
def test_what_an_earlier_version_staged_is_brought_into_the_tables_of_this_one(tmp_path, monkeypatch, limit):
    monkeypatch.setattr("personascope.warehouse.store.writer.SORTED_IN_MEMORY", limit)
    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec())
    for number in range(2):
        writer.write_part(str(number), {"attention": rows(f"villain/q0{number}")})
    (older,) = (writer.folder / "parts" / "0").glob("attention.parquet")
    staged = pq.ParquetFile(older).read()
    pq.write_table(staged.drop_columns(["persona", "entropy"]), older)
    writer.close()
    resumed = start(lake, spec())
    assert resumed.read_staged("attention").num_rows == 12
    run_id = resumed.commit().run_id
    found = lake.read(run_id, "attention", ["example_id", "persona", "entropy", "system"]).to_pydict()
    assert set(found["persona"]) == {"villain"} and set(found["entropy"]) == {None} and len(found["system"]) == 12
    told = sorted(zip(found["example_id"], found["system"], strict=True))
    assert [example for example, _ in told] == ["villain/q00"] * 6 + ["villain/q01"] * 6
    assert [value for _, value in told] == pytest.approx([0.0, 0.0, 0.1, 0.1, 0.2, 0.2] * 2)


def test_what_a_later_version_staged_is_refused_by_name(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec())
    writer.write_part("0", {"attention": rows("villain/q00")})
    (later,) = (writer.folder / "parts" / "0").glob("attention.parquet")
    staged = pq.ParquetFile(later).read()
    pq.write_table(staged.append_column("new", staged.column("layer")), later)
    with pytest.raises(PersonascopeError, match="table attention: unknown column 'new'"):
        writer.commit()


def test_two_writers_of_one_run_are_refused(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec())
    with pytest.raises(PersonascopeError, match="another process is writing"):
        lake.start(spec())
    writer.close()


def test_nan_becomes_null_and_is_counted(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec())
    broken = rows("villain/q00")
    broken[0]["entropy"] = float("nan")
    writer.write_part("0", {"attention": broken})
    manifest = writer.commit()
    assert manifest.nan_to_null == {"attention": 1}
    assert lake.read(manifest.run_id, "attention", ["entropy"]).column(0).null_count == 6


@pytest.mark.parametrize(("change", "message"), [({"colour": 1}, "unknown column 'colour'"), ({"layer": "third"}, "attention")])
def test_rows_that_do_not_fit_the_table_are_refused(tmp_path, change, message):
    writer = start(Lake.open(tmp_path / "lake"), spec())
    with pytest.raises(PersonascopeError, match=message):
        writer.write_part("0", {"attention": [rows("villain/q00")[0] | change]})
    assert writer.done == set()


def test_manifest_records_provenance_and_parameters(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec(parameters=[Parameter(name="k", value=[1, 2], origin="command line")]))
    writer.write_part("0", {"attention": rows("villain/q00")})
    run_id = writer.commit({"mean": 0.5}).run_id
    document = json.loads((lake.run_folder(run_id) / "run.json").read_text())
    assert document["packages"]["duckdb"] and document["python"] and document["run_id"] == run_id
    assert document["tables"]["attention"]["blake2"]
    assert lake.read(run_id, "parameters").to_pylist() == [{"run_id": run_id, "name": "k", "value": "[1, 2]", "origin": "command line"}]
    assert json.loads(lake.read(run_id, "runs").to_pylist()[0]["summary"]) == {"mean": 0.5}


def test_every_table_has_a_file_without_rows_so_that_views_always_match(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    files = {path.stem for path in (lake.runs_folder / SCHEMA_RUN).glob("*.parquet")}
    assert files == set(tables())


def test_a_path_with_a_backslash_which_duckdb_cannot_match_is_refused(tmp_path):
    with pytest.raises(PersonascopeError, match=r"back.slash: holds a backslash, which DuckDB takes"):
        Lake.open(tmp_path / "back\\slash")


def test_an_unwritable_lake_a_missing_run_and_a_missing_lake_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PersonascopeError, match="cannot be written"):
        Lake.open(tmp_path / "file" / "lake")
    with pytest.raises(PersonascopeError, match="no lake here"):
        Lake.existing(tmp_path / "nothing")
    with pytest.raises(PersonascopeError, match="not in the lake"):
        Lake.open(tmp_path / "lake").manifest("attention-0")


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    import errno

    from personascope.warehouse.store import parquet
    from personascope.warehouse.store import writer as module

    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec(), plan="p")
    writer.write_part("0", {"attention": rows("villain/q00")})

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.pq, "write_table", full)
        with pytest.raises(PersonascopeError, match=r"the disk is full.*resumes"):
            writer.write_part("1", {"attention": rows("villain/q01")})
    with monkeypatch.context() as patch:
        patch.setattr(parquet, "write_parquet", full)
        with pytest.raises(PersonascopeError, match="the disk is full"):
            writer.commit()
    writer.close()
    assert lake.run_ids() == []
    resumed = start(lake, spec(), plan="p")
    assert resumed.done == {"0"}
    resumed.write_part("1", {"attention": rows("villain/q01")})
    assert resumed.commit().tables["attention"].rows == 12


def test_delete_removes_one_run_and_find_run_takes_a_prefix(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    for value in (1, 2):
        writer = start(lake, spec(identity={"a": value}))
        writer.write_part("0", {"attention": rows("villain/q00")})
        writer.commit()
    one, two = lake.run_ids()
    assert lake.find_run(one[:14]) == one
    with pytest.raises(PersonascopeError, match="exactly one run"):
        lake.find_run("attention")
    lake.delete(one)
    assert lake.run_ids() == [two]


def test_a_run_is_on_the_disk_before_its_name_is_and_its_name_before_the_commit_returns(tmp_path, monkeypatch):
    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec())
    writer.write_part("0", {"attention": rows("villain/q00")})
    synced: set[int] = set()
    at_rename: dict[Path, set[int]] = {}
    fsync, rename = os.fsync, Path.rename

    def watched_fsync(handle):
        synced.add(os.fstat(handle).st_ino)
        fsync(handle)

    def watched_rename(path, target):
        at_rename[Path(target)] = set(synced)
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    folder = lake.run_folder(writer.commit().run_id)
    written = {path.stat().st_ino: path.name for path in [folder, *folder.iterdir()]}
    assert {"run.json", "attention.parquet", "runs.parquet"} < set(written.values())
    assert [written[each] for each in written.keys() - at_rename[folder]] == []
    assert lake.runs_folder.stat().st_ino in synced - at_rename[folder]


def test_a_run_is_hidden_before_the_first_of_its_files_is_deleted(tmp_path, monkeypatch):
    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec())
    writer.write_part("0", {"attention": rows("villain/q00")})
    run_id = writer.commit().run_id
    seen = []

    def killed(folder, *_args, **_kwargs):
        seen.append((lake.run_ids(), lake.run_folder(run_id).exists(), (Path(folder) / "run.json").is_file()))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            lake.delete(run_id)
    assert seen == [([], False, True)]
    again = Lake.open(tmp_path / "lake")
    assert again.run_ids() == [] and not any(again.staging_folder.iterdir())


def test_a_run_set_aside_by_a_killed_replacement_comes_back(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = start(lake, spec())
    writer.write_part("0", {"attention": rows("villain/q00")})
    run_id = writer.commit().run_id
    lake.run_folder(run_id).rename(lake.staging_folder / f"replaced-{run_id}")
    assert lake.run_ids() == []
    assert Lake.open(tmp_path / "lake").run_ids() == [run_id]
    (lake.staging_folder / f"replaced-{run_id}").mkdir()
    (lake.staging_folder / f"deleted-{run_id}").mkdir()
    assert not any(Lake.open(tmp_path / "lake").staging_folder.iterdir())
    assert lake.run_ids() == [run_id]
