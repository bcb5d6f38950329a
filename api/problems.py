"""From what msgspec says about a wrong value to `{field, message}`: which field, and what it must be instead.

msgspec and the standard library. Read next: `bodies.py` and `queries.py`, which refuse with it.
"""

import re
from typing import Any, Final

import msgspec
from msgspec import inspect

from ledger.errors import InvalidCommand

_FIELD: Final = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<field>.*)`\Z", re.DOTALL)
_TAG: Final = re.compile(r"Invalid value .*\Z", re.DOTALL)


def refusal_of(error: msgspec.ValidationError, kind: Any) -> InvalidCommand:
    """The refusal of a body or query that should have been a `kind`."""
    what, _, at = str(error).rpartition(" - at `")
    if not what:
        what, at = at, ""
    path = at.removesuffix("`").removeprefix("$").removeprefix(".")
    if (named := _FIELD.match(what)) is not None:
        field = f"{path}.{named['field']}" if path else named["field"]
        return InvalidCommand.field(
            field, "is required." if named["what"].startswith("missing") else "is not a known field."
        )
    return InvalidCommand.field(path or "body", _demand(inspect.type_info(kind), path, what))


def _demand(kind: inspect.Type, path: str, what: str) -> str:
    """What the value must be: the list of an enum, the description of its type, else msgspec's own words."""
    if _TAG.match(what) and isinstance(kind, inspect.UnionType):
        tags = [part.tag for part in kind.types if isinstance(part, inspect.StructType)]
        return f"must be one of {', '.join(map(str, tags))}."
    wanted = _type_at(kind, path)
    if isinstance(wanted, inspect.LiteralType):
        return f"must be one of {', '.join(map(str, wanted.values))}."
    if isinstance(wanted, inspect.Metadata) and wanted.extra_json_schema:
        description = wanted.extra_json_schema.get("description")
        if description:
            return f"must be {description}."
    words = what.replace("`", "")
    return words[:1].lower() + words[1:] + "."


def _type_at(kind: inspect.Type, path: str) -> inspect.Type | None:
    """The type of the field at a path of names; None where the path leaves Structs."""
    at: inspect.Type | None = kind
    for name in filter(None, path.split(".")):
        structs = [part for part in _alternatives(at) if isinstance(part, inspect.StructType)]
        fields = [f for struct in structs for f in struct.fields if f.encode_name == name]
        if not fields:
            return None
        at = fields[0].type
    return _most_telling(at)


def _most_telling(kind: inspect.Type | None) -> inspect.Type | None:
    """Of a type that may be null or unset: what it is otherwise."""
    parts = [part for part in _alternatives(kind) if not isinstance(part, inspect.NoneType)]
    return parts[0] if parts else kind


def _alternatives(kind: inspect.Type | None) -> tuple[inspect.Type, ...]:
    return kind.types if isinstance(kind, inspect.UnionType) else () if kind is None else (kind,)
