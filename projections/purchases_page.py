"""The fold of purchases into one row each, and one a payment of theirs. Tables here, queries in `purchases.py`.

Nothing is read back: a step adds to what earlier pages left, by one MERGE that fails if the purchase is not there.
A payment has a row of its own, so that a late event of an earlier payment is not taken for the purchase's.
Imports `ledger` only. Read next: `keyed_rows.py`.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

from ledger.domain import payment_events
from ledger.domain.payment_events import ESCROW_STATES, PAYMENT_STATUSES, PaymentOpened
from ledger.domain.purchase_events import (
    PurchaseDisputed,
    PurchaseDisputeDecided,
    PurchasePaymentOpened,
    PurchasePointsRedeemed,
    PurchasePointsReversed,
    PurchaseRegistered,
    PurchaseStatusChanged,
)
from ledger.domain.purchases import STATUSES
from ledger.errors import CorruptionError
from projections.keyed_rows import KeyedRows
from projections.projection import Connection, LogEvent, Table, copy_rows, one_of

PURCHASES: Final = Table(
    part="",
    columns=(
        ("purchase_id", 'text COLLATE "C" NOT NULL'),
        ("buyer_id", 'text COLLATE "C" NOT NULL'),
        ("seller_id", 'text COLLATE "C" NOT NULL'),
        ("price_minor", "bigint NOT NULL"),
        ("currency", "text NOT NULL"),
        ("created_at", "timestamptz NOT NULL"),
        ("registered", "bigint NOT NULL"),
        ("status", one_of("status", STATUSES)),
        ("payment_id", 'text COLLATE "C" NOT NULL'),
        ("dispute_id", "text NOT NULL"),
        ("discount_minor", "bigint NOT NULL"),
        ("points_earned", "bigint NOT NULL"),
        ("points_spent", "bigint NOT NULL"),
        ("version", "integer NOT NULL"),
        ("updated_at", "timestamptz NOT NULL"),
        ("position", "bigint NOT NULL"),
    ),
    key=("purchase_id",),
    upserted=True,
    indexes=("(registered)", "(buyer_id, registered)", "(seller_id, registered)", "(status, registered)"),
    options="fillfactor = 85",
    subject=("purchase", "purchase_id"),
)
"""`payment_id` is the payment opened last, `dispute_id` a dispute that is open; empty without one."""
PAYMENTS: Final = Table(
    part="payments",
    columns=(
        ("payment_id", 'text COLLATE "C" NOT NULL'),
        ("status", one_of("status", PAYMENT_STATUSES)),
        ("escrow_state", one_of("escrow_state", ESCROW_STATES)),
        ("updated_at", "timestamptz NOT NULL"),
        ("position", "bigint NOT NULL"),
    ),
    key=("payment_id",),
    upserted=True,
    options="fillfactor = 85",
    subject=("payment", "payment_id"),
)

_COLUMNS: Final = tuple(name for name, _ in PURCHASES.columns)
# None: unchanged by this page. The amounts are what the page adds. What was registered never changes.
_MERGE: Final = """
MERGE INTO {purchases} AS p
USING unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::integer[],
             $9::timestamptz[], $10::bigint[])
      AS n(purchase_id, status, payment_id, dispute_id, discount_minor, points_earned, points_spent, version,
           updated_at, position)
ON p.purchase_id = n.purchase_id
WHEN MATCHED THEN UPDATE SET
  status = coalesce(n.status, p.status), payment_id = coalesce(n.payment_id, p.payment_id),
  dispute_id = coalesce(n.dispute_id, p.dispute_id), discount_minor = p.discount_minor + n.discount_minor,
  points_earned = p.points_earned + n.points_earned, points_spent = p.points_spent + n.points_spent,
  version = n.version, updated_at = n.updated_at, position = n.position
"""
_STATUS, _PAYMENT, _DISPUTE, _DISCOUNT, _EARNED, _SPENT, _VERSION, _UPDATED, _POSITION = range(7, 16)
_ABOUT_PAYMENTS: Final = frozenset(payment_events.TAGS.values())


class PurchasesPage:
    """Purchases as lists in the order of the columns."""

    __slots__ = ("_changed", "_payments", "_registered", "_table")

    def __init__(self, table: str, payments: str) -> None:
        """The tables are named with their schema."""
        self._table = table
        self._payments = KeyedRows(PAYMENTS, payments, ("status", "escrow_state", "updated_at", "position"))
        self._registered: dict[str, list[Any]] = {}
        self._changed: dict[str, list[Any]] = {}

    def apply(self, event: LogEvent) -> None:
        """Take the event in; events that are neither about purchases nor about payments pass by."""
        kind = type(event.event)
        fold = _FOLDS.get(kind)
        if fold is not None:
            fold(self, event, event.event)
        elif kind in _ABOUT_PAYMENTS:
            self._pay(event, event.event)

    def register(self, log: LogEvent, event: PurchaseRegistered) -> None:
        """The purchase's row; a second one is a broken log."""
        purchase_id = event.purchase_request_id
        if purchase_id in self._registered or purchase_id in self._changed:
            msg = f"purchase {purchase_id} is registered again at position {log.position}"
            raise CorruptionError(msg)
        fixed = [purchase_id, event.buyer_id, event.seller_id, event.price_minor, event.currency]
        at, position = log.recorded_at, log.position
        self._registered[purchase_id] = [*fixed, at, position, "pending", "", "", 0, 0, 0, log.version, at, position]

    def redeem(self, log: LogEvent, event: PurchasePointsRedeemed) -> None:
        """Points and the discount they buy: once a purchase."""
        row = self._purchase(log, event.purchase_request_id)
        row[_DISCOUNT] += event.discount_minor
        row[_SPENT] += event.points

    def change(self, log: LogEvent, event: PurchaseStatusChanged) -> None:
        """The status, and what it did to the buyer's points. A discount stays what it was."""
        row = self._purchase(log, event.purchase_request_id)
        row[_STATUS] = event.status
        row[_EARNED] += event.points_earned
        row[_SPENT] -= event.points_returned

    def open_payment(self, log: LogEvent, event: PurchasePaymentOpened) -> None:
        """The payment that counts from now on."""
        self._purchase(log, event.purchase_request_id)[_PAYMENT] = event.payment_id

    def dispute(self, log: LogEvent, event: PurchaseDisputed) -> None:
        """On hold."""
        self._purchase(log, event.purchase_request_id)[_DISPUTE] = event.dispute_id

    def decide_dispute(self, log: LogEvent, event: PurchaseDisputeDecided) -> None:
        """On hold no more."""
        self._purchase(log, event.purchase_request_id)[_DISPUTE] = ""

    def reverse(self, log: LogEvent, event: PurchasePointsReversed) -> None:
        """Points taken back, as many as were there, and points returned."""
        row = self._purchase(log, event.purchase_request_id)
        row[_EARNED] -= event.points_clawed
        row[_SPENT] -= event.points_returned

    def _pay(self, log: LogEvent, event: payment_events.PaymentFact) -> None:
        after = event.after
        now = {
            "status": after.status,
            "escrow_state": after.escrow_state,
            "updated_at": log.recorded_at,
            "position": log.position,
        }
        if isinstance(event, PaymentOpened):
            self._payments.add(log, {"payment_id": event.payment_id, **now})
        else:
            self._payments.change(event.payment_id, **now)

    def _purchase(self, log: LogEvent, purchase_id: str) -> list[Any]:
        row = self._registered.get(purchase_id) or self._changed.get(purchase_id)
        if row is None:
            row = self._changed[purchase_id] = [purchase_id, *[None] * _DISPUTE, 0, 0, 0, 0, None, 0]
        row[_VERSION] = log.version
        row[_UPDATED] = log.recorded_at
        row[_POSITION] = log.position
        return row

    async def flush(self, connection: Connection) -> None:
        """New purchases by COPY, changed ones by MERGE."""
        if self._registered:
            rows = sorted(self._registered.values(), key=itemgetter(0))
            await copy_rows(connection, self._table, _COLUMNS, rows)
        if self._changed:
            changed = [[row[0], *row[_STATUS:]] for _, row in sorted(self._changed.items())]
            merge = _MERGE.format(purchases=self._table)
            tag = await connection.execute(merge, *(list(column) for column in zip(*changed, strict=True)))
            if tag != f"MERGE {len(changed)}":
                msg = f"of {len(changed)} purchases that go on, the read model holds others: {tag}"
                raise CorruptionError(msg)
        await self._payments.flush(connection)


_FOLDS: Final[dict[type, Callable[[PurchasesPage, LogEvent, Any], None]]] = {
    PurchaseRegistered: PurchasesPage.register,
    PurchasePointsRedeemed: PurchasesPage.redeem,
    PurchaseStatusChanged: PurchasesPage.change,
    PurchasePaymentOpened: PurchasesPage.open_payment,
    PurchaseDisputed: PurchasesPage.dispute,
    PurchaseDisputeDecided: PurchasesPage.decide_dispute,
    PurchasePointsReversed: PurchasesPage.reverse,
}
