"""What a route says about itself beside its path: who may use it, what goes in, what comes out. `openapi.py` reads it.

Read next: `openapi.py`, `routes/points.py`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from api.security import Access
from ledger.errors import LedgerError


class Documented(msgspec.Struct, frozen=True, kw_only=True):
    """The documentation of one route. `answer` is the type of the envelope's `data`.

    `answers` says what each status means; for one that refuses without a refusal being raised, its code.
    A body that is not required may be left away: it is read as `{}`. `needs_version` makes `If-Match` required.
    An empty `media_type` is an answer without a body.
    """

    summary: str
    tag: str
    answer: Any = None
    answers: Mapping[int, str]
    query: type[msgspec.Struct] | None = None
    body: Any = None
    body_required: bool = True
    needs_version: bool = False
    refusals: tuple[type[LedgerError], ...] = ()
    answer_headers: tuple[str, ...] = ()
    body_example: Any = None
    answer_example: Any = None
    description: str = ""
    media_type: str = "application/json"
    enveloped: bool = True


def opened_to(access: Access, documented: Documented) -> dict[str, Any]:
    """The `opt` of a route handler."""
    return {"access": access, "documented": documented}
