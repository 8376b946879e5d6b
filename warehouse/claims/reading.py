"""Reads claims, published sentences made checkable, from the `claims:` key of a YAML file; numbers keep the digits they were printed with."""

import re
from collections import Counter
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError

from personascope.warehouse.claims.judging import Expected, Range
from personascope.warehouse.documents import UniqueKeyLoader, parse_yaml
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.pointers import refuse_pointer
from personascope.warehouse.settings import first_sentence


def _expected(value: Any) -> Expected:
    """A published value as it stands in the file."""
    if isinstance(value, dict):
        if not value or not value.keys() <= {"low", "high"}:
            raise ValueError("expected a range with the keys low and high, or one of them")
        bounds = {key: _number(bound) for key, bound in value.items()}
        low, high = bounds.get("low"), bounds.get("high")
        if low is not None and high is not None and low > high:
            raise ValueError(f"low ({low}) is above high ({high})")
        return Range(low, high)
    if isinstance(value, (list, tuple)):
        return tuple(_scalar(each) for each in value)
    return _scalar(value)


def _scalar(value: Any) -> bool | Decimal | str:
    return value if isinstance(value, (bool, str)) else _number(value)


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueError(f"expected a number, text, true or false, a list of these, or a range {{low, high}}, found {value!r}")
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not number.is_finite():
        raise ValueError(f"expected a finite number, found {value}")
    return number


def _tolerance(value: Any) -> Decimal:
    number = _number(value)
    if number < 0:
        raise ValueError(f"expected a tolerance of at least 0, found {value}")
    return number


ExpectedField = Annotated[Expected, PlainValidator(_expected), PlainSerializer(repr)]
ToleranceField = Annotated[Decimal, PlainValidator(_tolerance)]


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
    tolerance: ToleranceField = Field(default=Decimal(0), description="absolute; takes the place of rounding as printed")
    coarser: int | None = Field(default=None, ge=0, description="decimals to which the statement may be true where it is not as printed")
    narrower: Narrower | None = None
    needs: str | None = Field(default=None, description="which data are missing where the query gives nothing")
    model: SpokenOf | None = Field(default=None, description="the model the sentence speaks of (default: that of the file, where it names one)")


class _Loader(UniqueKeyLoader):
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
        raise PersonascopeError(f"{path}: expected the key `claims` with a list of claims, found {type(document if entries is None else entries).__name__}")
    shared = {"model": document["model"]} if isinstance(document, dict) and document.get("model") is not None else {}
    claims = [_read_claim(path, number, shared | entry if isinstance(entry, dict) else entry) for number, entry in enumerate(entries, 1)]
    twice = [name for name, n in Counter(claim.id for claim in claims).items() if n > 1]
    if twice:
        raise PersonascopeError(f"{path}: claim {twice[0]!r} stands there more than once; expected every id once")
    return claims


def _read_claim(path: Path, number: int, entry: Any) -> Claim:
    name = f"claim {entry['id']!r}" if isinstance(entry, dict) and "id" in entry else f"claim {number}"
    try:
        return Claim.model_validate(entry)
    except ValidationError as error:
        raise PersonascopeError(f"{path}: {name}: {first_sentence(error, Claim)}") from error
