"""What settings need wherever they are read: layers with origins, the nearest known name, and a refusal as one sentence."""

import difflib
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from personascope.warehouse.documents import UniqueKeyLoader, parse_yaml
from personascope.warehouse.errors import PersonascopeError

Origin = Literal["default", "study file", "environment", "command line"]
M = TypeVar("M", bound=BaseModel)


class Parameter(BaseModel):
    """One resolved setting of a run and where its value came from."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: Any
    origin: Origin = "default"


@dataclass(frozen=True)
class Typed:
    """A value as it was typed on the command line; the type of its setting decides what is read from it."""

    text: str

    def read(self, annotation: Any) -> Any:
        """The value for a setting of that type: text is taken as typed, `[ZLT]`, `no` and `1e3` too; numbers, switches and lists are read as YAML writes them.

        A list of texts keeps its entries as typed. Raises PersonascopeError, without the setting's name, for text that is no YAML where that is needed.
        """
        arms = _arms(annotation)
        texts = [arm for arm in arms if arm is str or (get_origin(arm) is Literal and self.text in get_args(arm))]
        others = [arm for arm in arms if arm is not str and get_origin(arm) is not Literal]
        if texts and not (others and self.text.strip().startswith(("[", "{"))):
            return self.text
        value = self._yaml(UniqueKeyLoader)
        if isinstance(value, list) and any(get_args(arm) == (str,) for arm in others):
            return self._yaml(yaml.BaseLoader)
        return self._number(arms, value) if isinstance(value, str | int | float) and {int, float}.intersection(arms) else value

    def _number(self, arms: list[Any], value: Any) -> Any:
        """A number in decimal digits, since YAML reads 010 as eight and 1:30 as ninety; what is none stays as typed and is refused as it stands."""
        for arm in (int, float):
            if arm in arms and (arm is float or self.text.strip().lstrip("+-").isdecimal()):
                try:
                    return arm(self.text)
                except ValueError:
                    continue
        return value if isinstance(value, bool) and bool in arms else self.text

    def _yaml(self, loader: Any) -> Any:
        try:
            return parse_yaml(self.text, loader, "YAML")
        except PersonascopeError as error:
            raise PersonascopeError(f"the value cannot be read ({error})") from error


LONGEST_NAME = 200
LARGEST_SEED = 2**63 - 1  # as the tables store it


def nearest(name: object, known: Iterable[str], otherwise: str | None = None) -> str:
    """The hint behind an unknown name: the nearest of the known ones, else `otherwise`, else all of them, or that there are none."""
    known = list(known)
    near = difflib.get_close_matches(str(name)[:LONGEST_NAME], known, 1)  # the search takes the square of the length
    return f"did you mean {near[0]!r}?" if near else otherwise or (f"expected one of {', '.join(known)}" if known else "there are none")


def short(value: Any) -> str:
    """A value as it may stand in a sentence, in at most 60 characters, a text in at most 160: paths keep their end."""
    if isinstance(value, Mapping):
        return f"an object of {len(value)} keys"
    text, most = repr(value), 160 if isinstance(value, str) else 60
    if len(text) <= most:
        return text
    return f"a list of {len(value)}" if isinstance(value, list) else f"{text[: most - 3]}..."


@dataclass(frozen=True)
class Fault:
    """The first thing wrong with a document: at which place (keys and list indices), what stands there, and what was expected instead."""

    place: tuple[str | int, ...]
    problem: str
    expected: str | None

    @property
    def key(self) -> str:
        """The place with dots, empty for the document as a whole."""
        return ".".join(map(str, self.place))

    def sentence(self, name: str | None = None) -> str:
        """`lr is 0; input should be greater than 0`; `name` takes the place of the key."""
        subject = name or self.key
        return "; ".join(part for part in (f"{subject} {self.problem}" if subject else None, self.expected) if part)


def first_fault(error: ValidationError, model: type[BaseModel]) -> Fault:
    """The first fault pydantic found in a document read as `model`.

    Where a place may hold one of several models, the one that fits best speaks: pydantic reports the faults of all of them. A key that is not known comes with
    the nearest of those known at its place.
    """
    faults: Sequence[Any] = error.errors(include_url=False)
    place: list[str | int] = []
    around: Any = None
    annotation: Any = model
    depth = 0
    while depth < len(faults[0]["loc"]):
        part = faults[0]["loc"][depth]
        arms = _arms(annotation)
        if len(arms) > 1:
            begin = faults[0]["loc"][:depth]
            faults = _best([each for each in faults if each["loc"][:depth] == begin], depth)
            annotation = _arm(arms, str(faults[0]["loc"][depth]))
        else:
            around, annotation = arms[0], _inside(arms[0], part)
            place.append(part)
        depth += 1
    fault = faults[0]
    if fault["type"] == "missing":
        beside = [each for each in faults if each["type"] == "extra_forbidden" and each["loc"][:-1] == fault["loc"][:-1]]
        if not beside:
            return Fault(tuple(place), "is missing", None)
        fault, place[-1] = beside[0], beside[0]["loc"][-1]  # a misspelt key is why another is missing
    if fault["type"] == "extra_forbidden":
        return Fault(tuple(place), f"is unknown (found {short(fault['input'])})", nearest(place[-1], around.model_fields) if _is_model(around) else None)
    own = fault["type"] == "value_error"  # raised by a validator of the model, in its own words
    message = str(fault["ctx"]["error"]) if own else fault["msg"][:1].lower() + fault["msg"][1:]
    return Fault(tuple(place), f"is {short(fault['input'])}", message)


def first_sentence(error: ValidationError, model: type[BaseModel], name: str | None = None) -> str:
    """The first fault as one sentence that names the key, its value and what was expected; `name` takes the place of the key."""
    return first_fault(error, model).sentence(name)


def resolve(model: type[M], layers: Mapping[Origin, Mapping[str, Any]], what: str) -> tuple[M, list[Parameter]]:
    """Settings from layers of increasing weight (study file, then command line) over the defaults, and where each value came from.

    `what` names whose settings they are. Raises PersonascopeError naming the setting, its value, its origin and what was expected, with the nearest known
    setting for an unknown one.
    """
    fields = model.model_fields
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for origin, given in layers.items():
        for name, value in given.items():
            if name not in fields:
                raise PersonascopeError(f"{what}: setting {name!r} ({origin}) is unknown; {nearest(name, fields)}")
            if isinstance(value, Typed):
                try:
                    value = value.read(fields[name].annotation)
                except PersonascopeError as error:
                    raise PersonascopeError(f"{what}: setting {name!r} ({origin}): {error}") from error
            elif isinstance(value, bool) and not {bool, Any}.intersection(_arms(fields[name].annotation)):
                where = f"{what}: setting {name!r} is {value} ({origin})"
                raise PersonascopeError(f"{where}; expected no truth value: YAML reads yes, no, on and off as one unless they stand in quotes")
            values[name], origins[name] = value, origin
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        fault = first_fault(error, model)
        if not fault.place:
            raise PersonascopeError(f"{what}: {fault.sentence()}") from error
        name = str(fault.place[0])
        told = Fault(fault.place, f"{fault.problem} ({origins.get(name, 'default')})", fault.expected)
        meant = ""
        if origins.get(name) == "command line":  # where the words about a setting are not at hand
            may_be_list = any(get_origin(arm) is list for arm in _arms(fields[name].annotation)) and isinstance(values[name], str | int | float)
            expected = "" if fault.expected == "input should be a valid list" else " or a list"
            as_list = f"{expected}, as {name}=[{values[name]}]" if fault.place == (name,) and may_be_list else ""
            meant = as_list + (f"; {name}: {fields[name].description}" if fields[name].description else "")
        raise PersonascopeError(f"{what}: {told.sentence(f'setting {fault.key!r}')}{meant}") from error
    return settings, [Parameter(name=name, value=getattr(settings, name), origin=origins.get(name, "default")) for name in fields]


def _best(faults: Sequence[Any], depth: int) -> Sequence[Any]:
    """The faults of the alternative that fits best: one whose kind of value it is at all, then the one with the fewest faults."""
    by_arm: dict[Any, list[Any]] = {}
    for fault in faults:
        by_arm.setdefault(fault["loc"][depth], []).append(fault)
    return min(by_arm.values(), key=lambda arm: (any(len(fault["loc"]) == depth + 1 for fault in arm), len(arm)))


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _arms(annotation: Any) -> list[Any]:
    """The alternatives of a union besides None; anything else is the only alternative."""
    if get_origin(annotation) is Annotated:
        return _arms(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [arm for each in get_args(annotation) if each is not type(None) for arm in _arms(each)]
    return [annotation]


def _arm(arms: Sequence[Any], tag: str) -> Any:
    """The alternative that pydantic calls `tag`; Any where the tag does not tell."""
    for arm in arms:
        if _is_model(arm) and re.search(rf"\b{arm.__name__}\b", tag):
            return arm
        if get_origin(arm) in (list, dict, tuple) and tag.startswith(f"{get_origin(arm).__name__}["):
            return arm
    return Any


def _inside(annotation: Any, part: str | int) -> Any:
    """What stands at a key or index of a value of that type; Any where the type does not tell."""
    arguments = get_args(annotation)
    if _is_model(annotation):
        field = annotation.model_fields.get(str(part))
        return field.annotation if field else Any
    if get_origin(annotation) is dict and len(arguments) == 2:
        return arguments[1]
    if get_origin(annotation) is tuple and isinstance(part, int) and part < len(arguments) and ... not in arguments:
        return arguments[part]
    return arguments[0] if get_origin(annotation) in (list, tuple) and arguments else Any
