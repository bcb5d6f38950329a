"""Events to rows of the journal: the postings of each, and running balances.

The balance after a posting needs the one before: a page reads the accounts it touches, in one statement, and writes
them back. An event that comes late (it waited as a dead letter) is put in its place, and the balances behind it move.
Imports `ledger` only. Read next: `../ledger/journal.py`, which makes the postings.
"""

from typing import Any, Final

import msgspec

from ledger.errors import CorruptionError
from ledger.journal import POINTS, postings_of
from ledger.money import EXPONENTS
from projections.projection import Connection, LogEvent, Table, copy_rows

POSTINGS: Final = Table(
    part="",
    columns=(
        ("position", "bigint NOT NULL"),
        ("entry", "smallint NOT NULL"),
        ("decimals", "smallint NOT NULL"),
        ("recorded_at", "timestamptz NOT NULL"),
        ("amount", "bigint NOT NULL CHECK (amount <> 0)"),
        ("balance_after", "bigint NOT NULL"),
        ("event_type", 'text COLLATE "C" NOT NULL'),
        ("stream", 'text COLLATE "C" NOT NULL'),
        ("account", 'text COLLATE "C" NOT NULL'),
        ("currency", 'text COLLATE "C" NOT NULL'),
        ("purchase_request_id", 'text COLLATE "C"'),
        ("payment_id", 'text COLLATE "C"'),
        ("user_id", 'text COLLATE "C"'),
        ("actor", 'text COLLATE "C" NOT NULL'),
        ("reference", "text"),
        ("description", "text"),
        ("event_hash", "bytea NOT NULL"),
        ("formula", "boolean NOT NULL"),
    ),
    key=("position", "entry"),
    upserted=False,
    indexes=("(account, currency, position, entry) INCLUDE (balance_after)",),
)
"""A debit is positive. Empty text is NULL: an empty cell. `formula`: a text of the row begins as one would; found once,
here, because the export would look at every text of a million rows."""
ACCOUNTS: Final = Table(
    part="accounts",
    columns=(
        ("account", 'text COLLATE "C" NOT NULL'),
        ("currency", 'text COLLATE "C" NOT NULL'),
        ("balance", "bigint NOT NULL"),
        ("position", "bigint NOT NULL"),
    ),
    key=("account", "currency"),
    upserted=True,
    options="fillfactor = 70",
)
"""What each account holds now, and the position of the last posting to it."""

_COLUMNS: Final = tuple(name for name, _ in POSTINGS.columns)
_ACCOUNT_COLUMNS: Final = tuple(name for name, _ in ACCOUNTS.columns)
_BALANCE_AFTER: Final = _COLUMNS.index("balance_after")

_READ: Final = """
SELECT a.account, a.currency, a.balance, a.position
FROM unnest($1::text[], $2::text[]) AS n(account, currency) JOIN {accounts} AS a USING (account, currency)
"""
_WRITE: Final = """
UPDATE {accounts} AS a SET balance = n.balance, position = n.position
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS n(account, currency, balance, position)
WHERE a.account = n.account AND a.currency = n.currency
"""
_BEFORE: Final = """
SELECT balance_after FROM {main} WHERE account = $1 AND currency = $2 AND (position, entry) < ($3, $4)
ORDER BY position DESC, entry DESC LIMIT 1
"""
_MOVE: Final = """
UPDATE {main} SET balance_after = balance_after + $5
WHERE account = $1 AND currency = $2 AND (position, entry) > ($3, $4)
"""

_PERSONAL: Final = ("payable", "receivable", "refundable")


class _Origin(msgspec.Struct, frozen=True):
    id: str


class _Metadata(msgspec.Struct, frozen=True):
    """The part of an event's metadata that stands in the journal."""

    actor: _Origin


_BEGINS_A_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_decode_metadata: Final = msgspec.json.Decoder(_Metadata).decode


class JournalPage:
    """Rows to be, each a list in the order of the table's columns."""

    __slots__ = ("_accounts", "_main", "_rows")

    def __init__(self, main: str, accounts: str) -> None:
        """Tables are named with their schema."""
        self._main = main
        self._accounts = accounts
        self._rows: list[list[Any]] = []

    def apply(self, log: LogEvent) -> None:
        """Take the event's postings in; most events have none."""
        event = log.event
        postings = postings_of(event)
        if not postings:
            return
        user_id = getattr(event, "user_id", None)
        shared = (
            getattr(event, "purchase_request_id", None) or None,
            getattr(event, "payment_id", None) or None,
        )
        rest = (
            _decode_metadata(log.metadata).actor.id,
            getattr(event, "reference", None) or getattr(event, "tx_hash", None) or None,
            getattr(event, "description", None) or getattr(event, "reason", None) or None,
        )
        for entry, posting in enumerate(postings, 1):
            account, currency = posting.account, posting.currency
            kind, _, whose = account.partition(":")
            texts = (*shared, whose if kind in _PERSONAL else user_id, *rest)
            self._rows.append(
                [
                    log.position,
                    entry,
                    0 if currency == POINTS else EXPONENTS[currency],
                    log.recorded_at,
                    posting.amount,
                    0,
                    log.type,
                    log.stream,
                    account,
                    currency,
                    *texts,
                    log.hash,
                    any(text is not None and text.startswith(_BEGINS_A_FORMULA) for text in texts),
                ]
            )

    async def flush(self, connection: Connection) -> None:
        """One read of the accounts, one COPY of postings, one COPY of new accounts and one UPDATE of the others."""
        if not self._rows:
            return
        keys = sorted({(row[8], row[9]) for row in self._rows})
        found = await connection.fetch(
            _READ.format(accounts=self._accounts), [account for account, _ in keys], [currency for _, currency in keys]
        )
        before = {(row[0], row[1]): (row[2], row[3]) for row in found}
        now = dict(before)
        in_time = []
        for row in self._rows:
            key = (row[8], row[9])
            balance, last = now.get(key, (0, 0))
            if key in before and row[0] <= before[key][1]:
                await self._insert_late(connection, row)
                now[key] = (balance + row[4], last)
            else:
                in_time.append(row)
                now[key] = (balance + row[4], row[0])
                row[_BALANCE_AFTER] = balance + row[4]
        await copy_rows(connection, self._main, _COLUMNS, in_time)
        await self._flush_accounts(connection, [(*key, *now[key]) for key in keys], before.keys())

    async def _insert_late(self, connection: Connection, row: list[Any]) -> None:
        where = (row[8], row[9], row[0], row[1])
        balance = await connection.fetchval(_BEFORE.format(main=self._main), *where)
        row[_BALANCE_AFTER] = (balance or 0) + row[4]
        await copy_rows(connection, self._main, _COLUMNS, [row])
        await connection.execute(_MOVE.format(main=self._main), *where, row[4])

    async def _flush_accounts(self, connection: Connection, rows: list[tuple[Any, ...]], known: Any) -> None:
        new = [row for row in rows if row[:2] not in known]
        changed = [row for row in rows if row[:2] in known]
        if new:
            await copy_rows(connection, self._accounts, _ACCOUNT_COLUMNS, new)
        if changed:
            columns = (list(column) for column in zip(*changed, strict=True))
            tag = await connection.execute(_WRITE.format(accounts=self._accounts), *columns)
            if tag != f"UPDATE {len(changed)}":
                msg = f"of {len(changed)} accounts of the journal, others were there to write: {tag}"
                raise CorruptionError(msg)
