"""A payment's own ledger: its buckets and every entry behind them, now or as of then. Read from the log alone.

Imports `ledger` only. Read next: `../ledger/journal.py`, which makes the postings.
"""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from ledger import ids
from ledger.domain.payment_events import PaymentFunded
from ledger.domain.suspense import SuspenseSettled
from ledger.journal import postings_of
from ledger.money import MoneyText, money_text
from ledger.payment_errors import PaymentNotFound
from ledger.payment_views import BucketsView, PaymentView, buckets_view, instructions_view, payment_view
from ledger.store.codec import Actor, decode_metadata
from projections.history import AsOf, Folded, fold_stream, position_as_of
from projections.payments import check_party
from projections.projection import LogEvent, Pool
from projections.read_models import Answer


class PostingView(msgspec.Struct, frozen=True):
    """So much to one account, on one side."""

    account: str
    debit: MoneyText
    credit: MoneyText


class EntryView(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What one event did. `amount` is what it is about; postings are empty where nothing of value moved."""

    position: int
    recorded_at: datetime
    occurred_at: datetime
    type: str
    amount: MoneyText | UnsetType = UNSET
    postings: list[PostingView]
    instruction_id: str | UnsetType = UNSET
    dispute_id: str | UnsetType = UNSET
    tx_hash: str | UnsetType = UNSET
    actor: Actor


class PaymentLedger(msgspec.Struct, frozen=True):
    """Buckets, and the entries that add up to them, oldest first."""

    buckets: BucketsView
    entries: list[EntryView]


async def get_payment_as_of(
    pool: Pool, payment_id: str, as_of: AsOf, now: datetime, party: str | None = None
) -> Answer[PaymentView]:
    """The payment as it was, with its instructions. `PaymentNotFound` also where it was not opened yet."""
    up_to = await position_as_of(pool, as_of, now)
    found = await _folded(pool, payment_id, up_to, party)
    shown = payment_view(payment_id, found.state, found.version, found.created_at, found.updated_at)
    shown = msgspec.structs.replace(shown, instructions=instructions_view(payment_id, found.state))
    return Answer(shown, up_to, found.version)


async def get_payment_ledger(
    pool: Pool, payment_id: str, as_of: AsOf, now: datetime, party: str | None = None
) -> Answer[PaymentLedger]:
    """Its ledger. What came beyond the amount due and went back is an entry too: it left this payment's suspense."""
    up_to = await position_as_of(pool, as_of, now)
    found = await _folded(pool, payment_id, up_to, party, metadata=True)
    currency = found.state.currency
    logged = [*found.events]
    for event in found.events:
        if isinstance(event.event, PaymentFunded) and event.event.suspense_id:
            excess = await fold_stream(pool, ids.suspense_stream(event.event.suspense_id), up_to, metadata=True)
            logged += [one for one in excess.events if isinstance(one.event, SuspenseSettled)]
    entries = [_entry(one, currency) for one in sorted(logged, key=_position)]
    ledger = PaymentLedger(buckets_view(found.state.standing, currency), entries)
    return Answer(ledger, up_to, found.version)


async def _folded(pool: Pool, payment_id: str, up_to: int, party: str | None, *, metadata: bool = False) -> Folded:
    found = await fold_stream(pool, ids.payment_stream(payment_id), up_to, metadata=metadata)
    if found.first is not None:
        check_party(payment_id, party, found.first.buyer_id, found.first.seller_id)
    if not found.version:
        then = " yet" if found.first is not None else ""
        raise PaymentNotFound(f"No payment {payment_id}{then}.")
    return found


def _position(logged: LogEvent) -> int:
    return logged.position


def _entry(logged: LogEvent, currency: str) -> EntryView:
    event: Any = logged.event
    amount = getattr(event, "amount_minor", None)
    return EntryView(
        position=logged.position,
        recorded_at=logged.recorded_at,
        occurred_at=event.occurred_at,
        type=logged.type,
        amount=UNSET if amount is None else money_text(amount, currency),
        postings=[
            PostingView(
                posting.account,
                money_text(max(posting.amount, 0), posting.currency),
                money_text(max(-posting.amount, 0), posting.currency),
            )
            for posting in postings_of(event)
        ],
        instruction_id=getattr(event, "instruction_id", "") or UNSET,
        dispute_id=getattr(event, "dispute_id", "") or UNSET,
        tx_hash=getattr(event, "tx_hash", "") or UNSET,
        actor=decode_metadata(logged.metadata).actor,
    )
