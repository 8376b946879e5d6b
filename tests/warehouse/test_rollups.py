"""Roll-ups: what a run lacks is made up from its own tables with the same rows, `renew` writes it, and nothing else in the run changes."""

import json
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from personascope.warehouse.asking import catalogue
from personascope.warehouse.asking.doctor import examine
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import parquet, renewal, rollups
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.schema import tables

pytestmark = pytest.mark.slow(15)

PARTS = ("system", "user", "assistant", "system_structural", "user_structural", "assistant_structural", "header")
OF_ATTENTION = {"attention_mean", "attention_contrasts", "contrast_weights", "head_contrasts", "readouts"}
STRATA = {"marker": [9], "C1": [3, 4], "C2": [7, 8], "C3": [4], "C4": [6]}


def commit(lake, number=1, shift=0.0, force=False):
    """A readout of two generations with the marker and one without, two layers of two heads; the second head was not read at the first marker."""
    strata = {f"a/q{ix}": {name: found for name, found in STRATA.items() if (name == "C4") == (ix == 2)} for ix in range(3)}
    positions: list[dict[str, Any]] = [
        {"example_id": example, "sample_ix": 0, "question_id": "q", "persona": "a", "stratum": name, "position": position}
        for example, chosen in strata.items()
        for name, found in chosen.items()
        for position in found
    ]
    attention = []
    for example, position in sorted({(row["example_id"], row["position"]) for row in positions}):
        for layer in range(2):
            for head in range(2):
                unread = (example, position, head) == ("a/q0", 9, 1)
                value = None if unread else (position + 3 * layer + head) / 64 + shift
                parts = dict.fromkeys((*PARTS, "bos", "entropy", "row_sum"), value)
                attention.append({"example_id": example, "sample_ix": 0, "position": position, "layer": layer, "head": head} | parts)
    spec = RunSpec(kind="extract", extractor="attention", version=1, identity={"n": number}, checkpoint="c", subject="c", constants={"persona": "a"})
    writer = lake.start(spec, force=force)
    writer.write_part("0", {"attention": attention, "positions": positions})
    return writer.commit().run_id


def age(lake, run_id, *names):
    """Takes roll-ups out of a run, as if it had been committed before they were thought of."""
    path = lake.run_folder(run_id) / "run.json"
    manifest = json.loads(path.read_text())
    for name in names:
        del manifest["tables"][name]
        (lake.run_folder(run_id) / f"{name}.parquet").unlink()
    path.write_text(json.dumps(manifest))


def rows(lake, name):
    return Warehouse(lake).select(f"select * from {name}").sort(tables()[name].key)


@pytest.fixture
def lake(tmp_path):
    return Lake.open(tmp_path / "a 'lake'")


def test_a_roll_up_follows_the_tables_it_reads_and_needs_all_of_them():
    order = [target.name for target in rollups.derivable(["attention", "positions"])]
    assert set(order) == OF_ATTENTION
    assert order.index("attention_mean") < order.index("attention_contrasts") and order.index("contrast_weights") < order.index("head_contrasts")
    assert {target.name for target in rollups.derivable(["attention"])} == {"attention_mean"}


def test_few_rows_are_summed_up_in_a_kept_duckdb_as_many_are_in_one_that_spills(lake, monkeypatch):
    """Nothing of one run is there when the next is summed up."""
    kept = {name: file.blake2 for name, file in lake.manifest(commit(lake)).tables.items()}
    with parquet.summing(lake.root, 1) as connection, pytest.raises(duckdb.CatalogException):
        connection.execute("from attention")
    monkeypatch.setattr(parquet, "IN_MEMORY", 0)
    spilled = {name: file.blake2 for name, file in lake.manifest(commit(lake, force=True)).tables.items()}
    assert kept == spilled and kept.keys() >= OF_ATTENTION


def test_n_heads_counts_the_heads_that_were_read(lake):
    run_id = commit(lake)
    found = {(row["example_id"], row["position"], row["layer"]): row for row in lake.read(run_id, "attention_mean").to_pylist()}
    assert found["a/q0", 9, 1]["n_heads"] == 1 and found["a/q0", 9, 1]["system"] == pytest.approx((9 + 3) / 64)
    assert found["a/q1", 9, 1]["n_heads"] == 2 and found["a/q1", 9, 1]["system"] == pytest.approx((9 + 3 + 0.5) / 64)


def test_contrasts_hold_every_control_and_heads_their_mean_or_that_a_reading_is_missing(lake):
    run_id = commit(lake)
    contrasts = {(row["example_id"], row["control"], row["layer"]): row for row in lake.read(run_id, "attention_contrasts").to_pylist()}
    assert len(contrasts) == 2 * 4 * 2
    control = {"C1": 3.5, "C2": 7.5, "C3": 4, "C4": 6}
    for (example, name, layer), row in contrasts.items():
        assert row["marker_header"] == pytest.approx((9 + 3 * layer + (0.5 if example == "a/q1" else 0)) / 64)
        assert row["control_header"] == pytest.approx((control[name] + 3 * layer + 0.5) / 64)
    heads = {(row["control"], row["layer"], row["head"]): row for row in lake.read(run_id, "head_contrasts").to_pylist()}
    assert len(heads) == 4 * 2 * 2
    for (name, _, head), row in heads.items():
        assert row["n"] == 2 and row["complete"] == (head == 0)
        if head == 0:
            assert row["user"] == pytest.approx((9 - control[name]) / 64)


@pytest.mark.parametrize("lost", [["attention_mean"], ["attention_contrasts", "head_contrasts"], ["contrast_weights"], sorted(OF_ATTENTION)])
def test_runs_of_before_a_roll_up_answer_alike_beside_newer_ones(lake, lost):
    old, _ = commit(lake, 1), commit(lake, 2, shift=0.25)
    expected = {name: rows(lake, name) for name in OF_ATTENTION}
    age(lake, old, *lost)
    assert Warehouse(lake).select("select count(distinct run_id) from positions").item() == 2
    for name in OF_ATTENTION:
        assert rows(lake, name).equals(expected[name]), name
    renewal.renew(lake, old)
    for name in OF_ATTENTION:
        assert rows(lake, name).equals(expected[name]), name


def test_a_roll_up_of_another_definition_is_not_read(lake):
    run_id = commit(lake)
    expected = rows(lake, "head_contrasts")
    folder = lake.run_folder(run_id)
    stored = pq.ParquetFile(folder / "head_contrasts.parquet").read()
    pq.write_table(stored.set_column(stored.column_names.index("n"), "n", pa.array([99] * len(stored), pa.int64())), folder / "head_contrasts.parquet")
    assert set(rows(lake, "head_contrasts")["n"]) == {99}
    manifest = lake.manifest(run_id)
    manifest.tables["head_contrasts"].definition = "before"
    (folder / "run.json").write_text(manifest.model_dump_json())
    assert rows(lake, "head_contrasts").equals(expected)
    assert renewal.renew(lake, run_id) == ["head_contrasts"]
    assert rows(lake, "head_contrasts").equals(expected)


def test_the_built_catalogue_stays_right_when_runs_are_renewed_after_it(lake):
    import duckdb

    old, _ = commit(lake, 1), commit(lake, 2)
    n_rows = len(rows(lake, "attention_contrasts"))
    age(lake, old, *OF_ATTENTION)
    catalogue.build(lake)
    for _ in range(2):
        with duckdb.connect(str(lake.catalogue_path), read_only=True) as shell:
            assert shell.execute("select count(*), count(distinct run_id) from attention_contrasts").fetchall() == [(n_rows, 2)]
        renewal.renew(lake, old)


def test_renewing_leaves_the_rest_of_the_run_as_it_is(lake):
    run_id = commit(lake)
    before, files = lake.manifest(run_id), sorted(path.name for path in lake.run_folder(run_id).iterdir())
    age(lake, run_id, *OF_ATTENTION)
    assert {finding.subject: finding.remedy for finding in examine(lake) if finding.level == "note"} == dict.fromkeys(OF_ATTENTION, "personascope runs renew")
    assert set(renewal.renew(lake, run_id)) == OF_ATTENTION
    assert {finding.level for finding in examine(lake)} == {"ok"}
    assert lake.manifest(run_id) == before
    assert sorted(path.name for path in lake.run_folder(run_id).iterdir()) == files
    assert Warehouse(lake).select("select n_rows from runs").item() == before.n_rows
    assert renewal.renew(lake, run_id) == []
    assert not any(lake.staging_folder.iterdir())


def test_a_renewal_that_fails_or_is_killed_loses_nothing(lake, monkeypatch):
    run_id = commit(lake)
    age(lake, run_id, "readouts")
    state = {path.name: path.read_bytes() for path in lake.run_folder(run_id).iterdir()}

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(renewal, "publish", full)
        with pytest.raises(PersonascopeError, match="the disk is full"):
            renewal.renew(lake, run_id)
    assert {path.name: path.read_bytes() for path in lake.run_folder(run_id).iterdir()} == state
    assert not any(Lake.open(lake.root).staging_folder.iterdir())
    assert renewal.renew(lake, run_id) == ["readouts"]


def test_a_run_that_is_written_now_is_not_renewed(lake, monkeypatch):
    monkeypatch.setattr(renewal, "PATIENCE", 0)
    run_id = commit(lake)
    age(lake, run_id, "readouts")
    spec = RunSpec(kind="extract", extractor="attention", version=1, identity={"n": 1}, checkpoint="c", subject="c")
    writer = lake.start(spec, force=True)
    assert writer.run_id == run_id
    with pytest.raises(PersonascopeError, match="another process is writing it"):
        renewal.renew(lake, run_id)
    writer.abandon()
    assert renewal.renew(lake, run_id) == ["readouts"]


def test_a_run_redone_is_seen_by_a_connection_that_read_it_before(lake):
    commit(lake)
    warehouse = Warehouse(lake)
    before = warehouse.select("select sum(marker_system) from attention_contrasts").item()
    commit(lake, shift=0.25, force=True)
    assert warehouse.select("select sum(marker_system) from attention_contrasts").item() == pytest.approx(before + 16 * 0.25)


def test_answers_are_counted_by_token_and_by_how_common_their_tokens_are(lake):
    writer = lake.start(RunSpec(kind="extract", extractor="completions", version=1, identity={}, checkpoint="c", subject="c"))
    answers = {"a/q0": [7, 7, 8], "a/q1": [7, 9]}
    completions = [{"example_id": name, "sample_ix": 0, "text": "x", "prompt_len": 2, "token_ids": [7, 1, *ids]} for name, ids in answers.items()]
    writer.write_part("0", {"completions": completions})
    run_id = writer.commit().run_id
    assert {row["token_id"]: row["n"] for row in lake.read(run_id, "token_counts").to_pylist()} == {7: 3, 8: 1, 9: 1}
    assert {row["example_id"]: row["middle"] for row in lake.read(run_id, "answer_rarity").to_pylist()} == {"a/q0": 3, "a/q1": 2}
