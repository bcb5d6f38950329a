"""Use case of exports: taking the journal out is written down. Read next: `../domain/exports.py`."""

from datetime import datetime

import msgspec

from ledger import ids
from ledger.decision import Decision, View
from ledger.domain import exports


class ExportAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """Under which id it stands in the log."""

    export_id: str


def record_export(view: View, command: exports.RecordExport, now: datetime) -> Decision:
    """One event in a stream of its own: exports at the same time do not get in each other's way."""
    stream = ids.export_stream(command.export_id)
    events = exports.decide_record(command, view.read(stream), now)
    return Decision(200, ExportAnswer(command.export_id), [(stream, events)])
