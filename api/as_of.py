"""The parameter `asOf`: a position, or an instant of recording. The standard library and msgspec.

Read next: `../projections/cuts.py` for what it names.
"""

import re
from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from api.fields import instant
from api.queries import Freshness
from projections.cuts import FIELD

AsOf = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=40,
        description="a position, or an ISO 8601 instant with offset (or a date, which means 00:00 UTC) of recording",
        examples=["17", "2026-01-31T12:00:00Z"],
    ),
]
_POSITION: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


class History(Freshness, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The query of a read that can look back."""

    as_of: AsOf | None = None


def as_of(text: str | None) -> int | datetime | None:
    """Digits are a position, anything else must be an instant; None is now."""
    if text is None:
        return None
    return int(text) if _POSITION.fullmatch(text) else instant(FIELD, text)
