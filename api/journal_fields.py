"""What finance asks the journal with: accounts, currencies, positions. And examples of its answers.

Read next: `routes/journal_export.py`, `routes/journal_reads.py`.
"""

from typing import Annotated, Any, Final

from msgspec import Meta

from api.fields import Instant
from api.queries import Freshness

AccountName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z_]{1,20}(:[A-Za-z0-9_.:-]{1,64})?$",
        description="an account of the journal, such as member:user-42",
        examples=["member:user-42"],
    ),
]
AccountOrKind = Annotated[
    str,
    Meta(
        pattern=r"^[a-z_]{1,20}(:[A-Za-z0-9_.:-]{1,64})?$",
        description="an account of the journal, or what stands before its colon: member is all members",
        examples=["member"],
    ),
]
JournalCurrency = Annotated[
    str, Meta(pattern="^[A-Z]{3,4}$", description="the code of a currency; PTS is points", examples=["PTS"])
]
UpTo = Annotated[int, Meta(ge=0, le=2**62, description="the last position that is in it: a whole number from 0")]


class RecordedQuery(
    Freshness, frozen=True, forbid_unknown_fields=True, rename={"min_position": "minPosition", "from_": "from"}
):
    """`from` and `to` go by the time of recording, half-open: a month that is over never changes."""

    from_: Instant | None = None
    to: Instant | None = None
    currency: JournalCurrency | None = None


def _money(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "PTS"}


BALANCES: Final[list[dict[str, Any]]] = [
    {"account": "issuance", "currency": "PTS", "debit": _money("320"), "credit": _money("0"), "balance": _money("320")},
    {
        "account": "member:user-42",
        "currency": "PTS",
        "debit": _money("0"),
        "credit": _money("320"),
        "balance": _money("-320"),
    },
]
STATEMENT: Final[dict[str, Any]] = {
    "account": "member:user-42",
    "currency": "PTS",
    "opening": _money("0"),
    "closing": _money("-320"),
    "entries": [
        {
            "position": 17,
            "entry": 2,
            "recordedAt": "2026-01-31T12:00:00.123456Z",
            "eventType": "points.earned.v1",
            "stream": "account-user-42",
            "debit": _money("0"),
            "credit": _money("320"),
            "balanceAfter": _money("-320"),
            "userId": "user-42",
            "actor": "shop",
            "reference": "order-1001",
            "eventHash": "9f" * 32,
        }
    ],
    "pagination": {"page": 1, "limit": 20, "total": 1, "totalPages": 1, "hasMore": False},
}
