"""Checks parsed JSON against a pydantic model and turns the first problem into one sentence."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personascope.warehouse.errors import PersonascopeError

# Ranges of the integer columns these values end in.
Count = Annotated[int, Field(ge=0, lt=2**31)]
Long = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Name = Annotated[str, Field(min_length=1)]

M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """A part of a published file: types are taken literally (no "3" for 3, no true for 1); keys nobody asked for are let be."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def validated(model: type[M], value: Any, where: str = "") -> M:
    """`value`, found at `where` in the file, as `model`; raises PersonascopeError naming path, value and expectation of the first problem."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        first = problems[0]
        path = ".".join(str(part) for part in (*([where] if where else []), *first["loc"])) or "the file"
        more = f" ({len(problems) - 1} more such problems)" if len(problems) > 1 else ""
        if first["type"] == "missing":
            raise PersonascopeError(f"{path} is missing{more}") from error
        raise PersonascopeError(f"{path} is {short(first['input'])}; {first['msg'][:1].lower()}{first['msg'][1:]}{more}") from error


def short(value: Any) -> str:
    """A value as it may stand in a sentence."""
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
