"""Files of claims: every mistake in one is named, numbers keep their digits, and those that ship say nothing about an empty lake."""

from decimal import Decimal

import pytest
import yaml

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.claims.checking import judge
from personascope.warehouse.claims.judging import Range
from personascope.warehouse.claims.reading import read_claims
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.reading import claims_path, study_names

pytestmark = pytest.mark.slow(15)

GOOD = {"id": "a", "statement": "s", "source": "t", "query": "select 1", "expected": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "expected the key `claims` with a list of claims, found list"),
        ("claims: {}", "found dict"),
        ("claims: [", "not a YAML file"),
        ("claims: [1]", "claim 1: input should be"),
        (yaml.safe_dump({"claims": [GOOD, GOOD]}), "claim 'a' stands there more than once"),
        (yaml.safe_dump({"claims": [GOOD | {"querry": "x"}]}), "claim 'a': querry is unknown .found 'x'.; did you mean 'query'"),
        (yaml.safe_dump({"claims": [{k: v for k, v in GOOD.items() if k != "query"}]}), "claim 'a': query is missing"),
        (yaml.safe_dump({"claims": [GOOD | {"id": "A b"}]}), "claim 'A b': id is 'A b'; string should match pattern"),
        (yaml.safe_dump({"claims": [GOOD | {"query": 3}]}), "query is 3; input should be a valid string"),
        (yaml.safe_dump({"claims": [GOOD | {"expected": None}]}), "expected is None; expected a number, text, true or false"),
        (yaml.safe_dump({"claims": [GOOD | {"expected": {"min": 1}}]}), "expected a range with the keys low and high"),
        (yaml.safe_dump({"claims": [GOOD | {"expected": {"low": 2, "high": 1}}]}), r"low \(2\) is above high \(1\)"),
        (yaml.safe_dump({"claims": [GOOD | {"expected": {"low": 1, "above": 1}}]}), "expected a range with the keys low and high"),
        (yaml.safe_dump({"claims": [GOOD | {"tolerance": -1}]}), "expected a tolerance of at least 0"),
        (yaml.safe_dump({"claims": [GOOD | {"tolerance": 0.5}]}), "expected a tolerance with its unit"),
        (yaml.safe_dump({"claims": [GOOD | {"tolerance": {"by": 0.5, "unit": "absolute"}}]}), "tolerance of 0.5 around 1 is more than a tenth of it"),
        (yaml.safe_dump({"claims": [GOOD | {"expected": 0, "tolerance": {"by": 0.5, "unit": "absolute"}}]}), "tolerance around 0 has no scale"),
        (yaml.safe_dump({"claims": [GOOD | {"printed": True}]}), "printed is for ranges"),
        (yaml.safe_dump({"claims": [GOOD | {"narrower": {"query": "select 1"}}]}), "narrower.scope is missing"),
        ("claims: [{id: a, expected: 010}]", "'010' is no whole number in decimal digits"),
        ("claims: [{id: a, expected: {low: 1:30}}]", "'1:30' is no whole number in decimal digits"),
        ("claims: [{id: a, expected: .inf}]", "'.inf' is not a finite decimal number, line 1"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, text, message):
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    with pytest.raises(PersonascopeError, match=message) as raised:
        read_claims(path)
    assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(PersonascopeError, match=r"none\.yaml: cannot be read"):
        read_claims(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PersonascopeError, match=r"binary\.yaml: not a YAML file"):
        read_claims(tmp_path / "binary.yaml")


def test_numbers_keep_the_digits_they_were_printed_with(tmp_path):
    path = tmp_path / "claims.yaml"
    entry = "{{id: a{n}, statement: s, source: t, query: select 1, expected: {value}}}"
    values = ["0.20", "1e-5", "-0.0029", "{low: 0.870}", "[0.10, 3]", "'0.20'", "true"]
    path.write_text("name: any\nclaims:\n" + "\n".join(f"  - {entry.format(n=n, value=value)}" for n, value in enumerate(values)))
    found = [each.expected for each in read_claims(path)]
    assert found == [Decimal("0.20"), Decimal("1e-5"), Decimal("-0.0029"), Range(Decimal("0.870"), None), (Decimal("0.10"), Decimal(3)), "0.20", True]
    assert str(found[0]) == "0.20" and found[-1] is True


@pytest.mark.parametrize("study", study_names())
def test_claims_that_ship_need_data(tmp_path, study):
    """On an empty lake nothing can be said: a query that counts no rows as zero would confirm or contradict without data."""
    warehouse = Warehouse(Lake.open(tmp_path / "lake"))
    verdicts = [judge(warehouse, study, each) for each in read_claims(claims_path(study))]
    assert [each.claim for each in verdicts if each.verdict != "not derivable"] == []
