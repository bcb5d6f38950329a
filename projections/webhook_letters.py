"""Deliveries of webhooks that could not be true, and what became of them. Table and fold; listed by `dead_letter_list.py`.

Imports `ledger` only.
"""

from typing import ClassVar, Final

from ledger.domain.dead_letters import DeadLetterReplayed, DeadLetterSkipped, DeadLetterWritten
from projections.keyed_rows import KeyedRows
from projections.projection import Connection, LogEvent, Page, Table, one_of, table_names

LETTER_STATUSES: Final = ("waiting", "replayed", "skipped")

_TABLE: Final = Table(
    part="",
    columns=(
        ("letter_id", 'text COLLATE "C" NOT NULL'),
        ("code", "text NOT NULL"),
        ("message", "text NOT NULL"),
        ("provider", "text NOT NULL"),
        ("webhook_id", "text NOT NULL"),
        ("type", "text NOT NULL"),
        ("payment_id", "text NOT NULL"),
        ("amount_minor", "bigint NOT NULL"),
        ("currency", "text NOT NULL"),
        ("tx_hash", "text NOT NULL"),
        ("suspense_id", "text NOT NULL"),
        ("written", "bigint NOT NULL"),
        ("created_at", "timestamptz NOT NULL"),
        ("status", one_of("status", LETTER_STATUSES)),
        ("reason", "text NOT NULL"),
        ("position", "bigint NOT NULL"),
    ),
    key=("letter_id",),
    upserted=True,
    indexes=("(created_at, letter_id)", "(status, created_at, letter_id)"),
    subject=("letter", "letter_id"),
)
"""`reason` is why somebody put it away, empty if nobody did."""


class WebhookLetters:
    """One row a letter."""

    name: ClassVar[str] = "webhook_letters"
    code_version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]] = (_TABLE,)
    reads_data: ClassVar[bool] = True
    reads_metadata: ClassVar[bool] = False

    def page(self, build: int) -> Page:
        """An empty page for that build's table."""
        return _WebhookLettersPage(table_names(self, build)["main"])


_ABOUT_LETTERS: Final = frozenset({DeadLetterWritten, DeadLetterReplayed, DeadLetterSkipped})


class _WebhookLettersPage:
    """Letters of one page."""

    __slots__ = ("_letters",)

    def __init__(self, table: str) -> None:
        self._letters = KeyedRows(_TABLE, table, ("status", "reason", "position"))

    def apply(self, event: LogEvent) -> None:
        fact = event.event
        if type(fact) not in _ABOUT_LETTERS:
            return
        match fact:
            case DeadLetterWritten():
                delivery = fact.delivery
                row = {
                    "letter_id": fact.letter_id,
                    "code": fact.code,
                    "message": fact.message,
                    "provider": delivery.provider,
                    "webhook_id": delivery.webhook_id,
                    "type": delivery.type,
                    "payment_id": delivery.payment_id,
                    "amount_minor": delivery.amount_minor,
                    "currency": delivery.currency,
                    "tx_hash": delivery.tx_hash,
                    "suspense_id": fact.suspense_id,
                    "written": event.position,
                    "created_at": event.recorded_at,
                    "status": "waiting",
                    "reason": "",
                    "position": event.position,
                }
                self._letters.add(event, row)
            case DeadLetterReplayed():
                self._letters.change(fact.letter_id, status="replayed", position=event.position)
            case DeadLetterSkipped():
                self._letters.change(fact.letter_id, status="skipped", reason=fact.reason, position=event.position)

    async def flush(self, connection: Connection) -> None:
        await self._letters.flush(connection)
