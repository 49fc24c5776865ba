"""Metadata of templates on the wire, and which templates a search is among."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, model_validator

from service.api.schemas.probes import STRICT
from service.galleries.port import Condition, Where
from service.galleries.rules import FIELD_PATTERN, MAX_FIELDS, MAX_TEXT

_MAX_VALUES = 100

FieldName = Annotated[str, Field(pattern=FIELD_PATTERN, examples=["site"])]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
_Whole = Annotated[StrictInt, Field(gt=-(2**53), lt=2**53)]
_Number = Annotated[StrictFloat, Field(gt=-(2**53), lt=2**53)]
Value = StrictBool | _Whole | _Number | Text
MetadataBody = Annotated[dict[FieldName, Value], Field(max_length=MAX_FIELDS)]


class RangeBody(BaseModel):
    """Numbers from one to another, both included."""

    model_config = STRICT

    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _a_limit(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least or at_most")
        return self


WhereBody = Annotated[
    dict[FieldName, Value | Annotated[list[Value], Field(min_length=1, max_length=_MAX_VALUES)] | RangeBody],
    Field(
        min_length=1,
        max_length=MAX_FIELDS,
        description="search among the templates whose metadata has these values: one, one of a list, or a range of numbers",
        examples=[{"site": "north", "year": {"at_least": 2020}}],
    ),
]


def where_of(body: Mapping[str, Value | list[Value] | RangeBody] | None) -> Where | None:
    """The conditions as a store takes them."""
    if body is None:
        return None
    return {name: _condition(wanted) for name, wanted in body.items()}


def _condition(wanted: Value | list[Value] | RangeBody) -> Condition:
    if isinstance(wanted, RangeBody):
        return Condition(at_least=wanted.at_least, at_most=wanted.at_most)
    return Condition(any_of=tuple(wanted) if isinstance(wanted, list) else (wanted,))
