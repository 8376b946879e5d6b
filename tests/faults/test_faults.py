"""A short round of the fault harness; `make faults` runs the long one."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from fault_inputs import Door, answer, mutated
from fault_world import Work, digest, faults_after_all, faults_after_kill

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

HERE = Path(__file__).parent


@pytest.mark.slow(60)
def test_a_short_round_finds_nothing():
    """In a process of its own: the harness forks, which a worker of the suite with its threads must not."""
    command = [sys.executable, str(HERE / "fault_round.py"), "--short", "--seed", "3"]
    found = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])}, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr[-2000:]
    rows = [line.split(" | ") for line in found.stdout.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 5 and [row[2] for row in rows] == ["0"] * 5


@pytest.fixture
def root(tmp_path) -> Path:
    lake = Lake.open(tmp_path / "lake")
    for name in ("one", "two"):
        with lake.start(RunSpec(kind="ingest", extractor="prompts", version=1, identity={"name": name}), force=True) as writer:
            writer.write_part("rows", {"examples": [{"prompt_set": name, "example_id": "a/q0", "persona": "a", "question_id": "q0", "question": "Why?"}]})
            writer.commit()
    return lake.root


def test_the_harness_sees_what_it_looks_for(root):
    before, work = digest(root), Work("any", ())
    one, two = before
    assert faults_after_kill(root, before, work) == [] and faults_after_all(root, before) == []
    Lake(root).delete(one)
    assert faults_after_kill(root, before, work) == [f"{one} is lost"]
    assert faults_after_kill(root, before, Work("delete", (), frozenset({one}))) == []
    assert faults_after_all(root, before) == [f"only without the kill: {one}"]
    (root / "runs" / two / "examples.parquet").write_bytes(b"PAR1")
    (root / "staging" / "prompts-half").mkdir()
    (root / ".warehouse-1.duckdb.tmp").touch()
    assert f"{two}: examples is not what was committed" in faults_after_kill(root, before, work)
    assert {"left: .warehouse-1.duckdb.tmp", "left in staging: prompts-half"} <= set(faults_after_all(root, before))


@pytest.mark.slow(2)
def test_answers_are_told_apart(tmp_path):
    path = tmp_path / "input"
    path.write_bytes(b"x")

    def raising(error: BaseException):
        def read(_path):
            raise error

        return read

    found = {
        name: answer(Door(name, (), "", read), path, b"x")
        for name, read in {
            "rows": lambda _: 1,
            "sentence": raising(PersonascopeError("the file is empty; expected JSON")),
            "short": raising(PersonascopeError("no")),
            "traceback": raising(KeyError("a")),
            "slow": lambda _: sum(range(10**10)),
            "large": lambda _: len(b"x" * (9 << 27)),
        }.items()
        if name != "slow"
    }
    assert {name: each.kind for name, each in found.items()} == {
        "rows": "rows",
        "sentence": "sentence",
        "short": "fault",
        "traceback": "fault",
        "large": "fault",
    }
    assert "KeyError" in found["traceback"].fault and "GiB" in found["large"].fault


def test_mutations_are_the_same_for_the_same_seed_and_change_the_input():
    good = b'{"a": [1, {"b": "c"}], "d": null}'
    first, second = ([mutated(random.Random(seed), good) for seed in range(200)] for _ in range(2))
    assert first == second and sum(each != good for each in first) > 190 and len(set(first)) > 100
