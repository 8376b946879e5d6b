"""What the parsers of JSON and YAML would swallow, or die of: each is one sentence, soon."""

import time

import pytest

from personascope.warehouse.documents import PlainNumberLoader, UniqueKeyLoader, parse_json, parse_yaml
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.studies.lines import read_mapping

MANY = 100_000


def laughs(first: str, each: str) -> str:
    """A short text of which every line holds the one before it nine times."""
    return "\n".join([f"v0: &v0 {first}", *(f"v{n}: &v{n} {each.format(', '.join([f'*v{n - 1}'] * 9))}" for n in range(1, 12))])


ALIASES = {
    "lists": laughs("[1]", "[{}]"),
    "mappings": laughs("{a: 1}", "{{a: [{}]}}"),
    "itself": "a: &a [*a]",
    "itself as a mapping": "a: &a {b: *a}",
}


@pytest.mark.parametrize("text", ALIASES.values(), ids=ALIASES)
def test_a_short_text_that_aliases_make_endless_is_told_at_once(tmp_path, text):
    begun = time.process_time()
    with pytest.raises(PersonascopeError, match=r"when its aliases are written out|recursive"):
        parse_yaml(text, UniqueKeyLoader)
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(PersonascopeError, match=r"when its aliases are written out|recursive"):
        read_mapping(path, "a study")
    assert time.process_time() - begun < 5


def test_aliases_that_mean_something_are_read():
    assert parse_yaml(laughs("{a: 1}", "{{<<: [{}]}}"), UniqueKeyLoader)["v11"] == {"a": 1}
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]", UniqueKeyLoader) == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * MANY, "nested too deeply"),
        ('{"a":' * MANY, "nested too deeply"),
        ("{" + ", ".join(f'"k{n}": 1' for n in [*range(MANY), MANY - 1]) + "}", f"the key 'k{MANY - 1}' stands twice in one object"),
        ('{"a": ' + "9" * 5000 + "}", "not readable as JSON"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ('{"a": "\\ud83d"}', "half of a surrogate pair"),
        (b'["x\\uDC00 \\ud83d\\ude00"]', "the escape .uDC00 is half of a surrogate pair"),
    ],
    ids=["lists", "objects", "keys", "digits", "nan", "half", "other half"],
)
def test_json_that_parsers_die_of_or_swallow_is_told_at_once(text, words):
    begun = time.process_time()
    with pytest.raises(PersonascopeError, match=words):
        parse_json(text)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2", "line 2: the key 'a' stands twice in one mapping"),
        ("[1, 2]: 3", "line 1: found list as a key; expected text"),
        ("? {a: 1}\n: 3", "line 1: found dict as a key"),
        ("- " * 5000, "nested too deeply"),
        ("a: !!bool maybe", "not a YAML file"),
    ],
)
def test_yaml_that_says_something_else_than_it_seems_is_told(text, words):
    with pytest.raises(PersonascopeError, match=words):
        parse_yaml(text, UniqueKeyLoader)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 010", "line 2: '010' is no whole number in decimal digits, and YAML reads another out of it"),
        ("[0x10]", "line 1: '0x10' is no whole number"),
        ("a: 1:30", "line 1: '1:30' is no whole number"),
        ("a: 1:30.5", "line 1: '1:30.5' is no decimal number, and YAML reads one of base 60"),
    ],
)
def test_numbers_that_yaml_reads_as_others_are_told(text, words):
    with pytest.raises(PersonascopeError, match=words):
        parse_yaml(text, PlainNumberLoader)


def test_numbers_as_people_write_them_are_read():
    assert parse_yaml("[0, -7, 1_000, 1.5, -0.0, 2.0e+3]", PlainNumberLoader) == [0, -7, 1000, 1.5, 0.0, 2000.0]


def test_escapes_of_whole_characters_and_of_backslashes_are_read():
    assert parse_json('["\\ud83d\\ude00", "\\\\ud83d", "\\u00e9"]') == ["\U0001f600", "\\ud83d", "é"]
