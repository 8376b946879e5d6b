"""Query positions: controls are drawn from where the definition says, by the example's own seed, and leave marker and structure out."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personascope.extract.texts.strata import end_of_answer, marker_queries, token_frequencies

PROMPT, MARKER = 6, (90, 91, 92)


def queries(ids, t_marker, structural=None, frequencies=None, example="r/a#0", seed=42, trajectory=9):
    structural = structural or [False] * len(ids)
    found = marker_queries(ids, PROMPT, t_marker, set(MARKER), structural, frequencies or Counter(ids), example, seed, trajectory)
    return found and {name: [query.position for query in found if query.stratum == name] for name in dict.fromkeys(query.stratum for query in found)}


@given(st.lists(st.integers(0, 80), min_size=16, max_size=60), st.integers(0, 1000), st.data())
def test_strata_lie_where_the_definition_says(answer, seed, data):
    ids = [1] * PROMPT + answer + list(MARKER)
    t = PROMPT + len(answer)
    structural = [token < 8 for token in ids]
    found = queries(ids, t, structural, seed=seed)
    candidates = [p for p in range(PROMPT + 5, t - 5) if not structural[p]]
    if len(candidates) < 5:
        assert found is None
        return
    assert found["marker"] == [t]
    assert len(set(found["C1"])) == 5 and set(found["C1"]) <= set(candidates)
    assert found.get("C2", []) == [p for p in (t - 3, t - 2, t - 1) if not structural[p]]
    assert all(found[f"t-{step}"] == [t - step] for step in range(1, 10))
    counts = Counter(ids)
    content = [p for p in range(PROMPT, t) if not structural[p]]
    assert 1 <= len(found["C3"]) <= 3
    worst = max(counts[ids[p]] for p in found["C3"])
    assert sum(counts[ids[p]] < worst for p in content) < max(3, len(content) // 20)


def test_c3_takes_the_rarest_tokens_of_the_run_not_the_lowest_ids():
    ids = [1] * PROMPT + list(range(10, 40)) + list(MARKER)
    frequencies = Counter(dict.fromkeys(range(10, 40), 100))
    for rare in (33, 25, 14):
        frequencies[rare] = 1
    assert sorted(ids[p] for p in queries(ids, PROMPT + 30, frequencies=frequencies)["C3"]) == [14, 25, 33]


def test_draws_depend_on_the_example_and_the_seed_alone():
    ids = [1] * PROMPT + list(range(10, 70)) + list(MARKER)
    first = queries(ids, PROMPT + 60)
    assert queries(ids, PROMPT + 60) == first
    assert queries(ids, PROMPT + 60, example="r/a#1")["C1"] != first["C1"]
    assert queries(ids, PROMPT + 60, seed=43)["C1"] != first["C1"]


def test_marker_tokens_are_never_controls_and_the_trajectory_stops_at_the_prompt():
    ids = [1] * PROMPT + [10, 11, 12, 90, 91, 13, 14, 15, 90, 16, 17, 18, 19, 20, 21, 22, 23, 24] + list(MARKER)
    found = queries(ids, PROMPT + 18, trajectory=30)
    assert not {ids[p] for name in ("C1", "C2", "C3") for p in found[name]} & set(MARKER)
    assert min(found[f"t-{18}"]) == PROMPT and "t-19" not in found


@pytest.mark.parametrize(("structural", "expected"), [([0, 0, 1, 1], 1), ([1, 1, 1, 1], None), ([0, 0, 0, 0], 3)])
def test_end_of_answer_is_the_last_token_that_is_not_structural(structural, expected):
    mask = [False] * PROMPT + [bool(flag) for flag in structural]
    assert end_of_answer([1] * PROMPT + [5, 6, 7, 8], PROMPT, mask) == (None if expected is None else PROMPT + expected)


def test_frequencies_count_sampled_tokens():
    assert token_frequencies([[1, 2, 2], [2, 3]]) == Counter({2: 3, 1: 1, 3: 1})
