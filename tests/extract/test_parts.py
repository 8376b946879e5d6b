"""Parts of a run: bounded in tokens and in operations, cut by the items alone, for real shapes about a minute of two cores."""

from math import inf

import pytest

from personascope.extract.arithmetic import FORWARD_TOKENS, PART, Arithmetic
from personascope.extract.job import Item, cut_batches

SMOLLM2, SEVEN = Arithmetic(30, 576, 49152), Arithmetic(28, 3584, 152064)


def lengths(batches):
    return [[item.length for item in batch] for batch in batches]


@pytest.mark.parametrize(
    ("most", "expected"),
    [(inf, [[10, 10, 9], [3, 2]]), (100, [[10], [10], [9, 3, 2]]), (12.5, [[10], [10], [9], [3], [2]]), (210, [[10, 10], [9, 3, 2]])],
)
def test_a_batch_is_bounded_in_tokens_and_in_cost(most, expected):
    items = [Item(str(number), length, None) for number, length in enumerate((3, 10, 2, 9, 10))]
    for order in (items, items[::-1]):
        assert lengths(cut_batches(order, 30, lambda item: float(item.length**2), most)) == expected


def test_a_part_is_about_a_minute_of_two_cores_for_a_small_model_and_never_less_than_a_device_for_a_large_one_wants():
    counted = 2 * 30 * (576 * 576 * 2 + 2 * 576 * 192 + 3 * 576 * 1536)
    assert SMOLLM2.forward(1) == pytest.approx(counted, rel=0.2), "the weights of a layer of SmolLM2, each used once"
    assert PART <= SMOLLM2.part <= 1.5 * PART
    assert SEVEN.part >= SEVEN.layers * SEVEN.layer(FORWARD_TOKENS, 0) > 10 * PART


def test_an_answer_costs_what_its_tokens_cost_one_at_a_time():
    short, long = SMOLLM2.decode(100, 32), SMOLLM2.decode(100, 256)
    assert short < long < 8 * short and SMOLLM2.decode(100, 0) == SMOLLM2.forward(100)
    n = sum(len(batch) for batch in cut_batches([Item(str(number), 356, None) for number in range(60)], 10**9, lambda item: long, SMOLLM2.part)[:1])
    assert 20 <= n <= 40, "completions of 256 tokens in a part"
