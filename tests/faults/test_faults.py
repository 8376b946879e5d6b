"""A short round of the fault harness; `make faults` runs the long one."""

import random

import pytest
from fault_inputs import Door, answer, mutated
from fault_kills import kills_between_steps
from fault_round import round_of
from fault_world import World, build_world, copy, digest, faults_after_all, faults_after_kill

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return build_world(tmp_path_factory.mktemp("faults") / "world")


@pytest.mark.slow(90)
def test_a_short_round_finds_nothing(tmp_path):
    counts = list(round_of(tmp_path, kills=4, steps=0, processes=3, minutes=0.1, inputs=150, seed=3))
    assert [count.faults for count in counts if count.faults] == []
    assert len(counts) == 4


@pytest.mark.slow(60)
def test_kills_before_chosen_steps_lose_and_leave_nothing(world, tmp_path):
    found = list(kills_between_steps(world, tmp_path, 6))
    assert len(found) >= 6 and [(trial.work, trial.moment, trial.faults) for trial in found if trial.faults] == []


@pytest.mark.slow(60)
def test_the_harness_sees_what_it_looks_for(world, tmp_path):
    before = digest(world.lake)
    root = copy(world, tmp_path / "lost")
    victim = next(iter(before))
    Lake(root).delete(victim)
    assert any(f"{victim} is lost" in fault for fault in faults_after_kill(root, before, world.works[0]))
    assert f"only without the kill: {victim}" in faults_after_all(root, before)
    root = copy(world, tmp_path / "torn")
    table = next(iter(before[victim]))
    (root / "runs" / victim / f"{table}.parquet").write_bytes(b"PAR1")
    assert faults_after_kill(root, before, world.works[0]) == [f"{victim}: {table} is not what was committed"]
    (root / ".warehouse-1.duckdb.tmp").touch()
    assert "left: .warehouse-1.duckdb.tmp" in faults_after_all(root, before)


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
