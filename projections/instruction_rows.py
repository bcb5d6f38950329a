"""The fold of payment events into one row an instruction, for every read model that shows instructions.

Imports `ledger` only. Read next: `payments_page.py`, `disputes_page.py`.
"""

from typing import Any, Final, get_args

from ledger.domain.payment_events import (
    INSTRUCTION_STATUSES,
    InstructionCancelled,
    InstructionReserved,
    Kind,
    PaymentRefunded,
    PaymentReleased,
)
from ledger.domain.payments import Instruction
from ledger.payment_views import InstructionView, instruction_view
from projections.keyed_rows import KeyedRows
from projections.projection import Connection, LogEvent, Table, one_of

INSTRUCTIONS: Final = Table(
    part="instructions",
    columns=(
        ("payment_id", 'text COLLATE "C" NOT NULL'),
        ("instruction_id", 'text COLLATE "C" NOT NULL'),
        ("kind", one_of("kind", get_args(Kind))),
        ("amount_minor", "bigint NOT NULL"),
        ("currency", "text NOT NULL"),
        ("dispute_id", "text NOT NULL"),
        ("reserved", "bigint NOT NULL"),
        ("status", one_of("status", INSTRUCTION_STATUSES)),
        ("tx_hash", "text NOT NULL"),
        ("fee_returned_minor", "bigint NOT NULL"),
        ("position", "bigint NOT NULL"),
    ),
    key=("payment_id", "instruction_id"),
    upserted=True,
    subject=("payment", "payment_id"),
)
"""`dispute_id` is the dispute whose decision made it, empty without one. `reserved` is a position, and the order."""


_ABOUT_INSTRUCTIONS: Final = frozenset({InstructionReserved, InstructionCancelled, PaymentReleased, PaymentRefunded})


class InstructionRows:
    """The instructions of one page."""

    __slots__ = ("_rows",)

    def __init__(self, table: str) -> None:
        """The table is named with its schema."""
        self._rows = KeyedRows(INSTRUCTIONS, table, ("status", "tx_hash", "fee_returned_minor", "position"))

    def apply(self, log: LogEvent) -> None:
        """Take the event in; others pass by."""
        event = log.event
        if type(event) not in _ABOUT_INSTRUCTIONS:
            return
        match event:
            case InstructionReserved():
                self._rows.add(
                    log,
                    {
                        "payment_id": event.payment_id,
                        "instruction_id": event.instruction_id,
                        "kind": event.kind,
                        "amount_minor": event.amount_minor,
                        "currency": event.currency,
                        "dispute_id": event.dispute_id,
                        "reserved": log.position,
                        "status": "reserved",
                        "tx_hash": "",
                        "fee_returned_minor": 0,
                        "position": log.position,
                    },
                )
            case InstructionCancelled():
                self._end(log, event, status="cancelled")
            case PaymentReleased():
                self._end(log, event, status="confirmed", tx_hash=event.tx_hash)
            case PaymentRefunded():
                fee = event.fee_returned_minor
                self._end(log, event, status="confirmed", tx_hash=event.tx_hash, fee_returned_minor=fee)

    def _end(
        self, log: LogEvent, event: InstructionCancelled | PaymentReleased | PaymentRefunded, **changed: Any
    ) -> None:
        self._rows.change(event.payment_id, event.instruction_id, position=log.position, **changed)

    async def flush(self, connection: Connection) -> None:
        """Write them."""
        await self._rows.flush(connection)


def instruction_of(row: Any) -> InstructionView:
    """A row as it is shown."""
    instruction = Instruction(
        row["instruction_id"],
        row["kind"],
        row["amount_minor"],
        row["status"],
        row["tx_hash"],
        row["fee_returned_minor"],
        row["dispute_id"],
    )
    return instruction_view(row["payment_id"], instruction, row["currency"])
