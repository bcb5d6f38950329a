"""Query parameters: each is known, comes once, and is what it must be; pages and freshness are the same everywhere.

Read next: `routes/points.py`, which reads with them.
"""

from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from api.bodies import holds_control_character
from api.call import Call
from api.fields import MinPosition
from api.problems import refusal_of
from ledger.errors import InvalidCommand

PARAMETERS_AT_MOST: Final = 50

Q = TypeVar("Q", bound=msgspec.Struct)


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a route that takes no parameters."""


class Freshness(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The query of every read: wait until the read model has seen this position."""

    min_position: MinPosition = 0


class Paging(Freshness, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The query of every list."""

    page: Annotated[int, Meta(ge=1, le=1_000_000_000, description="a whole number from 1")] = 1
    limit: Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100")] = 20
    sort_by: Literal["createdAt"] = "createdAt"
    sort_order: Literal["asc", "desc"] = "desc"


class Cursor(Paging, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The query of a list that grows: `after` goes on behind the `meta.nextCursor` of another answer."""

    after: Annotated[str, Meta(min_length=1, max_length=200, description="a cursor of meta.nextCursor")] | None = None


def read_query(call: Call, kind: type[Q]) -> Q:
    """The parameters as `kind`. Refused: unknown, repeated, or not what they must be."""
    if not call.query:
        return msgspec.convert({}, kind)
    values: dict[str, Any] = {}
    try:
        pairs = parse_qsl(
            call.query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=PARAMETERS_AT_MOST,
        )
    except ValueError:
        raise InvalidCommand.field("query", "is not percent-encoded UTF-8 of at most 50 parameters.") from None
    for name, text in pairs:
        if name in values:
            raise InvalidCommand.field(name, "is given more than once.")
        if holds_control_character(text) or holds_control_character(name):
            raise InvalidCommand.field(_shown(name), "must not contain control characters.")
        values[name] = text
    try:
        query = msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _named(refusal_of(error, kind)) from None
    _check_numbers(query, values)
    if isinstance(query, Cursor) and query.after is not None and query.page != 1:
        raise InvalidCommand.field("page", "has no place beside after, which takes its place: give one of them.")
    return query


def _check_numbers(query: msgspec.Struct, values: dict[str, Any]) -> None:
    """Refuse 1.0, 1e1 and 007, which msgspec takes for numbers where all it has is text."""
    for field, name in zip(query.__struct_fields__, query.__struct_encode_fields__, strict=True):
        number = getattr(query, field)
        if isinstance(number, int) and name in values and values[name] != str(number):
            raise InvalidCommand.field(name, "must be a whole number in plain digits.")


def _named(refusal: InvalidCommand) -> InvalidCommand:
    """The same refusal, in the words of a query."""
    problem = refusal.data[0]
    if problem["message"] == "is not a known field.":
        return InvalidCommand.field(problem["field"], "is not a known parameter.")
    return refusal


def _shown(name: str) -> str:
    return "".join(c for c in name if not holds_control_character(c))
