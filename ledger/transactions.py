"""A line of a member's history: what one event looks like to the member. One function, for answers and read models.

An answer that is such a line is not kept beside its event: told again, it is rendered from the event again.

Pure: standard library and msgspec. Read next: `handler.py`, which answers with it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from ledger.domain.points import (
    PointsClawedBack,
    PointsDeducted,
    PointsEarned,
    PointsExpired,
    PointsGranted,
    PointsRestored,
    PointsSpent,
)


class Transaction(msgspec.Struct, rename="camel", gc=False):
    """`amount` is always positive, `balance` is after it. `position` is an offset until `stamp` makes it one.

    `id` and `created_at` (when it was recorded) are None until then.
    """

    id: str | None
    type: str
    source: str
    amount: int
    balance: int
    occurred_at: datetime
    created_at: datetime | None
    position: int
    description: str = ""
    metadata: dict[str, Any] = {}
    reference: str | UnsetType = UNSET
    purchase_request_id: str | UnsetType = UNSET
    referred_user: str | UnsetType = UNSET
    expires_at: datetime | UnsetType = UNSET

    def stamp(self, first_position: int, recorded_at: datetime) -> None:
        """Turn the offset into the position the store gave, once."""
        self.position += first_position
        self.id = f"txn_{self.position}"
        self.created_at = recorded_at


class TransactionAnswer(msgspec.Struct, rename="camel", gc=False):
    """The transaction that came of a command, and the balance after everything the command did."""

    transaction: Transaction
    new_balance: int


ANSWERED: Final = (PointsEarned, PointsGranted, PointsDeducted, PointsSpent)
"""What a command may be about whose answer is a transaction: one such event a command, and the others follow from it."""


def transaction_answer(events: Sequence[object]) -> TransactionAnswer:
    """The line of the event the command was about, and the balance after the last event that moves it."""
    balance = 0
    transaction = None
    for offset, event in enumerate(events):
        if type(event) in ANSWERED:
            transaction = transaction_of(event, offset)
        balance = getattr(event, "balance", balance)
    assert transaction is not None, "a decision always holds the event it is about"
    return TransactionAnswer(transaction, balance)


def transaction_of(event: object, offset: int = 0) -> Transaction | None:
    """The line this event writes in the member's history; None if it writes none."""
    kind = type(event)
    if kind is PointsEarned:
        return _earned(event, offset)  # type: ignore[arg-type]  # narrowed by `kind`, the cheap way
    if kind is PointsSpent:
        return _spent(event, offset)  # type: ignore[arg-type]  # as above
    if isinstance(event, PointsGranted):
        return Transaction(
            None,
            "admin_grant",
            "admin",
            event.amount,
            event.balance,
            event.occurred_at,
            None,
            offset,
            event.reason,
            event.metadata,
            event.reference or UNSET,
            expires_at=event.expires_at or UNSET,
        )
    if isinstance(event, PointsDeducted):
        return Transaction(
            None,
            "admin_deduct",
            "admin",
            event.amount,
            event.balance,
            event.occurred_at,
            None,
            offset,
            event.reason,
            event.metadata,
            event.reference or UNSET,
        )
    if isinstance(event, PointsRestored):
        return _restored(event, offset)
    if isinstance(event, PointsClawedBack):
        return _clawed_back(event, offset)
    if isinstance(event, PointsExpired):
        return Transaction(
            None,
            "expire",
            "expiry",
            event.amount,
            event.balance,
            event.occurred_at,
            None,
            offset,
            "Points expired",
        )
    return None


def _earned(event: PointsEarned, offset: int) -> Transaction:
    return Transaction(
        None,
        "earn",
        event.source,
        event.amount,
        event.balance,
        event.occurred_at,
        None,
        offset,
        event.description,
        event.metadata,
        event.reference,
        event.reference if event.source == "purchase" else UNSET,
        event.referred_user or UNSET,
        event.expires_at or UNSET,
    )


def _spent(event: PointsSpent, offset: int) -> Transaction:
    return Transaction(
        None,
        "spend",
        "redemption",
        event.amount,
        event.balance,
        event.occurred_at,
        None,
        offset,
        event.description,
        event.metadata,
        event.reference,
        event.purchase_request_id or UNSET,
    )


def _restored(event: PointsRestored, offset: int) -> Transaction:
    description = f"Points returned from {event.reference}"
    if event.expired:
        description += f"; {event.expired} of them were past their deadline and expired at once"
    return Transaction(
        None,
        "restore",
        "redemption",
        event.amount,
        event.balance,
        event.occurred_at,
        None,
        offset,
        description,
        {},
        event.reference,
        event.purchase_request_id or UNSET,
    )


def _clawed_back(event: PointsClawedBack, offset: int) -> Transaction | None:
    if not event.amount:
        return None  # Nothing was there to be taken: the event says so, a line of nothing would not.
    description = f"Points taken back: purchase {event.reference} was refunded"
    if event.asked > event.amount:
        description += f"; {event.asked - event.amount} more were not there any more"
    return Transaction(
        None,
        "clawback",
        "purchase",
        event.amount,
        event.balance,
        event.occurred_at,
        None,
        offset,
        description,
        {},
        event.reference,
        event.purchase_request_id,
    )
