"""Directions as data: what is refused, and what comes back from the lake as it was made."""

from dataclasses import replace

import numpy as np
import pytest

from personascope.extract.instruments.directions import Direction, check_directions
from personascope.extract.texts.halves import half_of, half_to_read
from personascope.warehouse.errors import PersonascopeError

VECTOR = np.array([3.0, 0.0, 4.0], dtype=np.float32)
SOUND = Direction("villain-assistant", 1, "resid_post", "persona_assistant", VECTOR)


def test_a_direction_knows_its_length_and_its_unit():
    assert SOUND.norm == 5.0
    np.testing.assert_array_equal(SOUND.unit, np.array([0.6, 0.0, 0.8], dtype=np.float32))
    check_directions([SOUND, replace(SOUND, layer=0), replace(SOUND, site="resid_pre")], d_model=3, n_layers=2)


@pytest.mark.parametrize(
    ("directions", "sentence"),
    [
        ([], "no directions"),
        ([replace(SOUND, layer=2)], "of layer 2: the checkpoint has no such layer; expected 0 to 1"),
        ([replace(SOUND, layer=-1)], "of layer -1"),
        ([replace(SOUND, site="attn")], "site 'attn' is unknown; expected one of resid_pre"),
        ([replace(SOUND, vector=VECTOR[:2])], "has 2 numbers, and the checkpoint has 3"),
        ([replace(SOUND, vector=np.ones((1, 3), np.float32))], "has 1 by 3 numbers"),
        ([replace(SOUND, vector=np.array([1, np.nan, 0], np.float32))], "number 1 is nan"),
        ([replace(SOUND, vector=np.array([1, 0, np.inf], np.float32))], "number 2 is inf"),
        ([replace(SOUND, vector=np.zeros(3, np.float32))], "has length 0"),
        ([SOUND, SOUND], "is there twice"),
    ],
)
def test_a_direction_that_does_not_fit_is_refused_in_one_sentence(directions, sentence):
    with pytest.raises(PersonascopeError, match=sentence) as refused:
        check_directions(directions, d_model=3, n_layers=2)
    assert "\n" not in str(refused.value)


def test_halves_are_decided_by_the_id_and_directions_are_used_on_the_other_one():
    halves = [half_of(f"q{number:02d}") for number in range(200)]
    assert halves[:8] == list("baabbbab")
    assert 80 < halves.count("a") < 120
    assert half_to_read("projections", {"a", None}) == "b"
    assert half_to_read("projections", {"b"}) == "a"
    assert half_to_read("projections", {None}) is None
    for made_on, told in (({"all", "a"}, "made on all questions"), ({"a", "b"}, "made on both halves")):
        with pytest.raises(PersonascopeError, match=told):
            half_to_read("projections", made_on)
