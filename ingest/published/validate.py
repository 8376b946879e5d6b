"""Checks parsed JSON against a pydantic model and turns the first problem into one sentence."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import first_fault

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
        fault = first_fault(error, model)
        path = ".".join(filter(None, (where, fault.key))) or "the file"
        others = error.error_count() - 1
        raise PersonascopeError(fault.sentence(path) + (f" ({others} more such problems)" if others else "")) from error
