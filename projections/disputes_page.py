"""The fold of disputes, their evidence, and the instructions they list. Tables here, queries in `disputes.py`.

Imports `ledger` only. Read next: `keyed_rows.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from ledger.domain.dispute_events import (
    ACTIONS,
    CATEGORIES,
    PRIORITIES,
    STATUSES,
    TAGS,
    DisputeAssigned,
    DisputeClosed,
    DisputeOpened,
    DisputeResolved,
    EvidenceAdded,
)
from projections.instruction_rows import InstructionRows
from projections.keyed_rows import KeyedRows
from projections.projection import Connection, LogEvent, Table, copy_rows, one_of

DISPUTES: Final = Table(
    part="",
    columns=(
        ("dispute_id", 'text COLLATE "C" NOT NULL'),
        ("purchase_id", 'text COLLATE "C" NOT NULL'),
        ("payment_id", 'text COLLATE "C" NOT NULL'),
        ("buyer_id", 'text COLLATE "C" NOT NULL'),
        ("seller_id", 'text COLLATE "C" NOT NULL'),
        ("category", one_of("category", CATEGORIES)),
        ("priority", one_of("priority", PRIORITIES)),
        ("reason", "text NOT NULL"),
        ("amount_minor", "bigint NOT NULL"),
        ("currency", "text NOT NULL"),
        ("reserved", "text[] NOT NULL"),
        ("opened", "bigint NOT NULL"),
        ("created_at", "timestamptz NOT NULL"),
        ("status", one_of("status", STATUSES)),
        ("resolver_id", "text NOT NULL"),
        ("action", one_of("action", ("", *ACTIONS))),
        ("version", "integer NOT NULL"),
        ("updated_at", "timestamptz NOT NULL"),
        ("position", "bigint NOT NULL"),
    ),
    key=("dispute_id",),
    upserted=True,
    indexes=("(opened)", "(status, opened)", "(buyer_id, opened)", "(seller_id, opened)"),
    subject=("dispute", "dispute_id"),
)
"""`reserved` names the instructions that were reserved when it was opened; those of its decision name it themselves."""
EVIDENCE: Final = Table(
    part="evidence",
    columns=(
        ("dispute_id", 'text COLLATE "C" NOT NULL'),
        ("position", "bigint NOT NULL"),
        ("evidence_id", "text NOT NULL"),
        ("user_id", "text NOT NULL"),
        ("role", "text NOT NULL"),
        ("text", "text NOT NULL"),
        ("url", "text NOT NULL"),
        ("added_at", "timestamptz NOT NULL"),
    ),
    key=("dispute_id", "position"),
    upserted=False,
    subject=("dispute", "dispute_id"),
)

_CHANGING: Final = ("status", "resolver_id", "action", "version", "updated_at", "position")
_ABOUT_DISPUTES: Final = frozenset(TAGS.values())
_CHANGES: Final[Mapping[type, Callable[[Any], dict[str, str]]]] = {
    DisputeAssigned: lambda event: {"status": "in_progress", "resolver_id": event.resolver_id},
    EvidenceAdded: lambda _: {},
    DisputeResolved: lambda event: {"status": "resolved", "action": event.action},
    DisputeClosed: lambda _: {"status": "closed"},
}


class DisputesPage:
    """Disputes, evidence and instructions of one page."""

    __slots__ = ("_disputes", "_evidence", "_evidence_table", "_instructions")

    def __init__(self, disputes: str, evidence: str, instructions: str) -> None:
        """The tables are named with their schema."""
        self._disputes = KeyedRows(DISPUTES, disputes, _CHANGING)
        self._evidence_table = evidence
        self._evidence: list[tuple[Any, ...]] = []
        self._instructions = InstructionRows(instructions)

    def apply(self, event: LogEvent) -> None:
        """Take the event in; those that are neither about disputes nor about instructions pass by."""
        fact = event.event
        if type(fact) not in _ABOUT_DISPUTES:
            self._instructions.apply(event)
            return
        now = {"version": event.version, "updated_at": event.recorded_at, "position": event.position}
        if isinstance(fact, DisputeOpened):
            self._disputes.add(event, _opened(event, fact) | now)
            return
        self._disputes.change(fact.dispute_id, **_CHANGES[type(fact)](fact), **now)
        if isinstance(fact, EvidenceAdded):
            self._evidence.append(
                (
                    fact.dispute_id,
                    event.position,
                    fact.evidence_id,
                    fact.by,
                    fact.role,
                    fact.text,
                    fact.url,
                    fact.occurred_at,
                )
            )

    async def flush(self, connection: Connection) -> None:
        """New rows by COPY, changed ones by UPDATE."""
        await self._disputes.flush(connection)
        await self._instructions.flush(connection)
        if self._evidence:
            columns = tuple(name for name, _ in EVIDENCE.columns)
            await copy_rows(connection, self._evidence_table, columns, sorted(self._evidence))


def _opened(log: LogEvent, event: DisputeOpened) -> dict[str, Any]:
    return {
        "dispute_id": event.dispute_id,
        "purchase_id": event.purchase_request_id,
        "payment_id": event.payment_id,
        "buyer_id": event.buyer_id,
        "seller_id": event.seller_id,
        "category": event.category,
        "priority": event.priority,
        "reason": event.reason,
        "amount_minor": event.amount_minor,
        "currency": event.currency,
        "reserved": list(event.reserved),
        "opened": log.position,
        "created_at": log.recorded_at,
        "status": "pending",
        "resolver_id": "",
        "action": "",
    }
