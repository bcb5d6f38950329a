"""An account's statement: its postings with the balance after each, and what it held before the first and after the last.

Imports `ledger` only. Read next: `journal.py`.
"""

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from ledger.errors import InvalidCommand, NotFound
from ledger.money import MoneyText
from projections.audit_trail import COUNTED_AT_MOST
from projections.cursor import Slice, SortOrder, cursor_after, position_of
from projections.cuts import last_position_by
from projections.journal import whole_journal
from projections.journal_balances import signed_money
from projections.read_models import Answer, ReadModels, Snapshot

_ENTRIES_A_POSITION: Final = 100
"""No event has as many postings; a cursor is one number for both."""

_CURRENCIES: Final = "SELECT currency FROM {accounts} WHERE account = $1 ORDER BY currency"
_STANDING: Final = """
SELECT balance_after FROM {main} WHERE account = $1 AND currency = $2 AND position <= $3
ORDER BY position DESC, entry DESC LIMIT 1
"""
_COUNT: Final = f"""
SELECT count(*) FROM (SELECT 1 FROM {{main}} WHERE account = $1 AND currency = $2 AND position > $3 AND position <= $4
                      LIMIT {COUNTED_AT_MOST}) AS c
"""
_ENTRIES: Final = """
SELECT position, entry, recorded_at, event_type, stream, amount, balance_after, purchase_request_id, payment_id, user_id,
  actor, reference, description, encode(event_hash, 'hex') AS event_hash
FROM {{main}}
WHERE account = $1 AND currency = $2 AND position > $3 AND position <= $4 AND (position, entry) {beyond} ($5, $6)
ORDER BY account {order}, currency {order}, position {order}, entry {order} LIMIT $7 OFFSET $8
"""


class StatementEntry(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One posting: `debit` or `credit`, the other one nothing. `entry` counts the postings of an event."""

    position: int
    entry: int
    recorded_at: datetime
    event_type: str
    stream: str
    debit: MoneyText
    credit: MoneyText
    balance_after: MoneyText
    purchase_request_id: str | UnsetType = UNSET
    payment_id: str | UnsetType = UNSET
    user_id: str | UnsetType = UNSET
    actor: str
    reference: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    event_hash: str


class Statement(msgspec.Struct, frozen=True):
    """`opening` and every posting of the time asked for add up to `closing`, whatever page of them is here."""

    account: str
    currency: str
    opening: MoneyText
    closing: MoneyText
    entries: Slice[StatementEntry]


async def get_statement(
    models: ReadModels,
    account: str,
    *,
    currency: str | None = None,
    from_: datetime | None = None,
    to: datetime | None = None,
    page: int = 1,
    limit: int = 20,
    sort_order: SortOrder = "asc",
    after: str | None = None,
    min_position: int = 0,
) -> Answer[Statement]:
    """Postings to the account, by position; `from_` and `to` are times of recording, half-open."""
    async with whole_journal(models, min_position=min_position) as seen:
        currency = await _currency(seen, account, currency)
        low = 0 if from_ is None else await _before(seen, from_)
        high = seen.position if to is None else min(seen.position, await _before(seen, to))
        start = (0 if sort_order == "asc" else 2**62) if after is None else position_of(after, sort_order)
        entries = _ENTRIES.format(beyond=">" if sort_order == "asc" else "<", order=sort_order)
        rows = await seen.connection.fetch(
            entries.format_map(seen.tables),
            account,
            currency,
            low,
            high,
            start // _ENTRIES_A_POSITION,
            start % _ENTRIES_A_POSITION,
            limit + 1,  # one more tells whether there is a next page
            0 if after is not None else (page - 1) * limit,
        )
        opening, closing = [
            await seen.connection.fetchval(_STANDING.format_map(seen.tables), account, currency, at) or 0
            for at in (low, high)
        ]
        total = await seen.connection.fetchval(_COUNT.format_map(seen.tables), account, currency, low, high)
        shown = [_entry(row, currency) for row in rows[:limit]]
        cursor = None
        if len(rows) > limit:
            last = rows[limit - 1]
            cursor = cursor_after(last["position"] * _ENTRIES_A_POSITION + last["entry"], sort_order)
        slice_ = Slice(shown, total, page, limit, cursor)
        statement = Statement(
            account, currency, signed_money(opening, currency), signed_money(closing, currency), slice_
        )
        return Answer(statement, seen.position, 0, slice_.meta())


async def _before(seen: Snapshot, at: datetime) -> int:
    return await last_position_by(seen.connection, at - timedelta(microseconds=1))


async def _currency(seen: Snapshot, account: str, asked: str | None) -> str:
    """The one that is meant. Refused: none named where the account has several; an account nobody has posted to."""
    rows = await seen.connection.fetch(_CURRENCIES.format_map(seen.tables), account)
    held = [row["currency"] for row in rows]
    if not held or (asked is not None and asked not in held):
        raise NotFound(f"Nothing was ever posted to {account}" + (f" in {asked}." if held else "."))
    if asked is not None:
        return asked
    if len(held) > 1:
        raise InvalidCommand.field("currency", f"must be one of those the account has: {', '.join(held)}.")
    return str(held[0])


def _entry(row: Any, currency: str) -> StatementEntry:
    return StatementEntry(
        position=row["position"],
        entry=row["entry"],
        recorded_at=row["recorded_at"],
        event_type=row["event_type"],
        stream=row["stream"],
        debit=signed_money(max(row["amount"], 0), currency),
        credit=signed_money(max(-row["amount"], 0), currency),
        balance_after=signed_money(row["balance_after"], currency),
        purchase_request_id=row["purchase_request_id"] or UNSET,
        payment_id=row["payment_id"] or UNSET,
        user_id=row["user_id"] or UNSET,
        actor=row["actor"],
        reference=row["reference"] or UNSET,
        description=row["description"] or UNSET,
        event_hash=row["event_hash"],
    )
