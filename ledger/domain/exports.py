"""Who took the journal out, up to where: one event an export, stream `export-<id>`, recorded after the cut.

Pure. Standard library and msgspec only. Read next: `../use_cases/exports.py`.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from ledger.errors import CorruptionError

Format = Literal["csv", "ndjson"]


class RecordExport(msgspec.Struct, frozen=True):
    """The journal up to `cut_position` is handed out, so far as these filters let it."""

    export_id: str
    format: Format
    cut_position: int
    account: str = ""
    currency: str = ""
    from_: datetime | None = None
    to: datetime | None = None


class LedgerExported(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Somebody was given the journal: every posting up to `cut_position` that the filters let through."""

    export_id: str
    format: Format
    cut_position: int
    occurred_at: datetime
    account: str = ""
    currency: str = ""
    recorded_from: datetime | None = None
    recorded_to: datetime | None = None


TAGS: Final[dict[str, type[msgspec.Struct]]] = {"ledger.exported.v1": LedgerExported}
"""The stored name, frozen for ever."""


class Export(msgspec.Struct, frozen=True, rename="camel"):
    """An export that was recorded; there is none while `format` is empty."""

    format: str = ""
    cut_position: int = 0


def evolve(_state: Export, event: LedgerExported) -> Export:
    """The export after its event."""
    return Export(event.format, event.cut_position)


def decide_record(command: RecordExport, state: Export, now: datetime) -> list[LedgerExported]:
    """Its one event. An id that is used a second time is a fault of ours."""
    if state.format:
        msg = f"export {command.export_id} is recorded a second time"
        raise CorruptionError(msg)
    return [
        LedgerExported(
            command.export_id,
            command.format,
            command.cut_position,
            now,
            command.account,
            command.currency,
            command.from_,
            command.to,
        )
    ]
