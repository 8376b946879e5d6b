"""Runs of one extractor are told apart by the fewest facts, in words."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personascope.warehouse.drawing.run_words import FACTS, run_words

COMMON = dict.fromkeys(FACTS, "same")


def _named(*runs: dict[str, str | None]) -> list[str | None]:
    """What the runs are called, in their order."""
    rows = [{**COMMON, "run_id": f"run-{n}", **run} for n, run in enumerate(runs)]
    return run_words(pl.DataFrame(rows, schema=dict.fromkeys(FACTS, pl.String)))["run"].to_list()


@pytest.mark.parametrize(
    ("runs", "named"),
    [
        (({},), [None]),
        (({"prompts": "echo"}, {"prompts": "echo-few-shot"}), ["echo", "echo-few-shot"]),
        (({"prompts": "echo"}, {"prompts": None}), ["echo", "–"]),
        (
            ({"prompts": "a", "seed": "seed 1"}, {"prompts": "a", "seed": "seed 2"}, {"prompts": "b", "seed": "seed 1"}),
            ["a · seed 1", "a · seed 2", "b · seed 1"],
        ),
        (({}, {}), ["run-0", "run-1"]),
    ],
)
def test_the_first_facts_that_differ_name_runs(runs: tuple[dict, ...], named: list[str | None]) -> None:
    assert _named(*runs) == named


@pytest.mark.slow(2)
@given(st.lists(st.fixed_dictionaries({fact: st.sampled_from(["a", "b", None]) for fact in ("prompts", "tokens", "dtype", "seed")}), min_size=2, max_size=6))
def test_no_two_runs_are_called_the_same(runs: list[dict]) -> None:
    assert len(set(_named(*runs))) == len(runs)
