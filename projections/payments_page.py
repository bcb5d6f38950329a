"""The fold of payment events into one row a payment and one an instruction. Tables here, queries in `payments.py`.

Every event carries how the payment stands after it, so the last one counts. Imports `ledger` only.
Read next: `keyed_rows.py`.
"""

from typing import Any, Final

from ledger.domain.payment_events import ESCROW_STATES, PAYMENT_STATUSES, TAGS, PaymentOpened, Standing
from ledger.payment_views import BUCKET_FIELDS
from projections.instruction_rows import InstructionRows
from projections.keyed_rows import KeyedRows
from projections.projection import Connection, LogEvent, Table, one_of

PAYMENTS: Final = Table(
    part="",
    columns=(
        ("payment_id", 'text COLLATE "C" NOT NULL'),
        ("purchase_id", 'text COLLATE "C" NOT NULL'),
        ("buyer_id", 'text COLLATE "C" NOT NULL'),
        ("seller_id", 'text COLLATE "C" NOT NULL'),
        ("provider", "text NOT NULL"),
        ("currency", "text NOT NULL"),
        ("due_minor", "bigint NOT NULL"),
        ("opened", "bigint NOT NULL"),
        ("created_at", "timestamptz NOT NULL"),
        ("status", one_of("status", PAYMENT_STATUSES)),
        ("escrow_state", one_of("escrow_state", ESCROW_STATES)),
        *((bucket, f"bigint NOT NULL CHECK ({bucket} >= 0)") for bucket in BUCKET_FIELDS),
        ("version", "integer NOT NULL"),
        ("updated_at", "timestamptz NOT NULL"),
        ("position", "bigint NOT NULL"),
    ),
    key=("payment_id",),
    upserted=True,
    # A buyer has few payments, so that the filters find theirs among all of them; a seller may have a million.
    indexes=(
        "(opened)",
        "(created_at, opened)",
        "(status, opened)",
        "(escrow_state, opened)",
        "(buyer_id, opened)",
        "(seller_id, opened)",
        "(seller_id, status, opened)",
        "(seller_id, escrow_state, opened)",
    ),
    options="fillfactor = 85",
    subject=("payment", "payment_id"),
)
"""`opened` is the position of the first event, and the order of every list."""

_ABOUT_PAYMENTS: Final = frozenset(TAGS.values())
_CHANGING: Final = ("status", "escrow_state", *BUCKET_FIELDS, "version", "updated_at", "position")


class PaymentsPage:
    """Payments and instructions of one page."""

    __slots__ = ("_instructions", "_payments")

    def __init__(self, payments: str, instructions: str) -> None:
        """The tables are named with their schema."""
        self._payments = KeyedRows(PAYMENTS, payments, _CHANGING)
        self._instructions = InstructionRows(instructions)

    def apply(self, event: LogEvent) -> None:
        """Take the event in; events that are not about payments pass by."""
        fact = event.event
        if type(fact) not in _ABOUT_PAYMENTS:
            return
        now = {
            **columns_of(fact.after),
            "version": event.version,
            "updated_at": event.recorded_at,
            "position": event.position,
        }
        if isinstance(fact, PaymentOpened):
            self._payments.add(
                event,
                {
                    "payment_id": fact.payment_id,
                    "purchase_id": fact.purchase_request_id,
                    "buyer_id": fact.buyer_id,
                    "seller_id": fact.seller_id,
                    "provider": fact.provider,
                    "currency": fact.currency,
                    "due_minor": fact.due_minor,
                    "opened": event.position,
                    "created_at": event.recorded_at,
                    **now,
                },
            )
        else:
            self._payments.change(fact.payment_id, **now)
            self._instructions.apply(event)

    async def flush(self, connection: Connection) -> None:
        """New rows by COPY, changed ones by UPDATE."""
        await self._payments.flush(connection)
        await self._instructions.flush(connection)


def columns_of(standing: Standing) -> dict[str, Any]:
    """How a payment stands, column by column."""
    return {
        "status": standing.status,
        "escrow_state": standing.escrow_state,
        **{bucket: getattr(standing, bucket) for bucket in BUCKET_FIELDS},
    }


def standing_of(row: Any) -> Standing:
    """The same, back from a row."""
    return Standing(row["status"], row["escrow_state"], *(row[bucket] for bucket in BUCKET_FIELDS))


if Standing.__struct_fields__ != ("status", "escrow_state", *BUCKET_FIELDS):
    raise TypeError("the buckets that are kept and shown are not those of a payment's standing, in its order")
