"""Reads claims, published sentences made checkable, from the `claims:` key of a YAML file; numbers keep the digits they were printed with."""

import re
from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError, model_validator

from personascope.warehouse.claims.judging import LARGEST_TOLERANCE, Expected, Range
from personascope.warehouse.documents import PlainNumberLoader, parse_yaml
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.pointers import refuse_pointer
from personascope.warehouse.settings import first_sentence


def _expected(value: Any) -> Expected:
    """A published value as it stands in the file."""
    if isinstance(value, Range):
        return value
    if isinstance(value, dict):
        return _range(value)
    if isinstance(value, (list, tuple)):
        return tuple(_scalar(each) for each in value)
    return _scalar(value)


def _range(value: dict) -> Range:
    bounds = {key: bound for key, bound in value.items() if key != "printed"}
    if not bounds or not bounds.keys() <= {"low", "high", "above", "below"} or {"low", "above"} <= bounds.keys() or {"high", "below"} <= bounds.keys():
        raise ValueError("expected a range with the keys low and high, or one of them; above and below for bounds that are not included themselves")
    if not isinstance(value.get("printed", False), bool):
        raise ValueError(f"expected printed: true where the bounds were printed rounded, found {value['printed']!r}")
    found = {key: _number(bound) for key, bound in bounds.items()}
    low, high = found.get("low", found.get("above")), found.get("high", found.get("below"))
    if low is not None and high is not None and low > high:
        raise ValueError(f"low ({low}) is above high ({high})")
    return Range(low, high, "above" in found, "below" in found, bool(value.get("printed", False)))


def _scalar(value: Any) -> bool | Decimal | str:
    return value if isinstance(value, (bool, str)) else _number(value)


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueError(f"expected a number, text, true or false, a list of these, or a range {{low, high}}, found {value!r}")
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not number.is_finite():
        raise ValueError(f"expected a finite number, found {value}")
    return number


UNITS = ("absolute", "percent", "last digit")


@dataclass(frozen=True)
class Tolerance:
    """How far a value may lie from the published number: `by` in a unit of UNITS, those of the number itself, hundredths of it, or its last printed digit."""

    by: Decimal
    unit: str

    def of(self, printed: Decimal) -> Decimal:
        """The distance around a published number, in that number's unit."""
        exponent = printed.as_tuple().exponent
        assert isinstance(exponent, int)
        return self.by * {"absolute": Decimal(1), "percent": abs(printed) / 100, "last digit": Decimal(1).scaleb(exponent)}[self.unit]


def _tolerance(value: Any) -> Tolerance | None:
    if value is None or isinstance(value, Tolerance):
        return value
    by = _number(value.get("by")) if isinstance(value, dict) and value.keys() == {"by", "unit"} else _number(value) if not isinstance(value, dict) else None
    if by is not None and by < 0:
        raise ValueError(f"expected a tolerance of at least 0, found {by}")
    if by is None or not isinstance(value, dict) or value["unit"] not in UNITS:
        raise ValueError(f"expected a tolerance with its unit, {{by: 0.5, unit: absolute}}, the unit one of {', '.join(UNITS)}")
    return Tolerance(by, value["unit"])


ExpectedField = Annotated[Expected, PlainValidator(_expected), PlainSerializer(repr)]
ToleranceField = Annotated[Tolerance | None, PlainValidator(_tolerance), PlainSerializer(repr)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class Narrower(Strict):
    """A smaller scope than the statement's, tried where the statement itself does not hold."""

    scope: str = Field(min_length=1, description="what the statement is true of, in words that follow `true for`")
    query: str = Field(min_length=1)
    expected: ExpectedField | None = Field(default=None, description="where it differs from the claim's")


class SpokenOf(Strict):
    """The model that sentences speak of: the name its rows bear, and what it must be for them to be judged by those rows."""

    checkpoint: str = Field(min_length=1, description="name of its rows, `$model` in a query")
    id: str = Field(min_length=1, description="Hub id")
    revision: str = Field(min_length=1, description="Hub commit")


class Claim(Strict):
    """One published sentence: its query gives one row, whose first column is held against `expected`; further columns are shown as evidence.

    The names of the columns are read by people: they say what was measured.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    statement: str = Field(min_length=1)
    source: str = Field(min_length=1, description="where the sentence stands")
    query: str = Field(min_length=1)
    expected: ExpectedField
    kind: Literal["null"] | None = Field(default=None, description="null where the sentence says that something did not move: it asks for an equivalence test")
    tolerance: ToleranceField = Field(default=None, description="takes the place of rounding as printed; at most a tenth of the published number")
    printed: bool = Field(default=False, description="the bounds of the range were printed rounded")
    coarser: int | None = Field(default=None, ge=0, description="decimals to which the statement may be true where it is not as printed")
    narrower: Narrower | None = None
    needs: str | None = Field(default=None, description="which data are missing where the query gives nothing")
    model: SpokenOf | None = Field(default=None, description="the model the sentence speaks of (default: that of the file, where it names one)")

    @model_validator(mode="after")
    def _of_this_kind(self) -> "Claim":
        for expected in [self.expected, *([self.narrower.expected] if self.narrower else [])]:
            if self.printed and isinstance(expected, (str, bool, Decimal, tuple)):
                raise ValueError("printed is for ranges; the decimals of a number say how it was printed")
            if self.tolerance is not None and expected is not None:
                _expect_small(self.tolerance, expected)
        return self

    def of(self, expected: Expected) -> Expected:
        """A published value with the reading that the claim asks for: a range whose bounds were printed rounded."""
        return replace(expected, printed=True) if self.printed and isinstance(expected, Range) else expected

    def distance(self, expected: Expected) -> Decimal:
        """The tolerance around a published number, in its unit; of a list the smallest."""
        numbers = [each for each in (expected if isinstance(expected, tuple) else (expected,)) if isinstance(each, Decimal)]
        return min((self.tolerance.of(each) for each in numbers), default=Decimal(0)) if self.tolerance is not None else Decimal(0)


def _expect_small(tolerance: Tolerance, expected: Expected) -> None:
    """Refuses a tolerance that has no scale, or that lets pass what differs in the first digits."""
    numbers = [each for each in (expected if isinstance(expected, tuple) else (expected,)) if isinstance(each, Decimal) and not isinstance(each, bool)]
    if not numbers:
        raise ValueError("tolerance is for numbers; a range says by itself how far it goes")
    for number in numbers:
        if not number:
            raise ValueError("tolerance around 0 has no scale; expected a range {low, high}")
        if tolerance.of(number) > LARGEST_TOLERANCE * abs(number):
            raise ValueError(f"tolerance of {tolerance.of(number).normalize():f} around {number} is more than a tenth of it; expected a range {{low, high}}")


class _Loader(PlainNumberLoader):
    """YAML whose numbers keep the digits they were printed with: 0.20 is not 0.2."""


def _printed_number(loader: _Loader, node: yaml.ScalarNode) -> Decimal:
    text = str(loader.construct_scalar(node))
    try:
        return Decimal(text.replace("_", ""))
    except InvalidOperation:
        raise yaml.YAMLError(f"{text!r} is not a finite decimal number, line {node.start_mark.line + 1}") from None


_Loader.add_constructor("tag:yaml.org,2002:float", _printed_number)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


def read_claims(path: Path | str) -> list[Claim]:
    """The claims of a YAML file, in its order; raises PersonascopeError naming file, claim and key."""
    path = Path(path)
    refuse_pointer(path)
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise PersonascopeError(f"{path}: cannot be read ({error.strerror}); expected a YAML file with the key `claims`") from error
    except UnicodeDecodeError as error:
        raise PersonascopeError(f"{path}: not a YAML file ({one_line(error)})") from error
    except PersonascopeError as error:
        raise PersonascopeError(f"{path}: {error}") from error
    entries = document.get("claims", []) if isinstance(document, dict) else None
    if not isinstance(entries, list):
        found = document if entries is None else entries
        raise PersonascopeError(f"{path}: expected the key `claims` with a list of claims, found {'nothing' if found is None else type(found).__name__}")
    shared = {"model": document["model"]} if isinstance(document, dict) and document.get("model") is not None else {}
    claims = [_read_claim(path, number, shared | entry if isinstance(entry, dict) else entry) for number, entry in enumerate(entries, 1)]
    twice = [name for name, n in Counter(claim.id for claim in claims).items() if n > 1]
    if twice:
        raise PersonascopeError(f"{path}: claim {twice[0]!r} stands there more than once; expected every id once")
    return claims


def _read_claim(path: Path, number: int, entry: Any) -> Claim:
    name = f"claim {entry['id']!r}" if isinstance(entry, dict) and "id" in entry else f"claim {number}"
    if isinstance(entry, dict) and "kind" in entry and entry["kind"] is None:  # YAML reads the word null as nothing
        entry = entry | {"kind": "null"}
    try:
        return Claim.model_validate(entry)
    except ValidationError as error:
        raise PersonascopeError(f"{path}: {name}: {first_sentence(error, Claim)}") from error
