"""The journal as a file, for finance. That it was taken is written into the log. Read next: `../streams.py`."""

from collections.abc import AsyncIterator
from typing import Any, Final

import uuid_utils
from litestar import Request, get
from litestar.response import Stream

from api.call import call_of
from api.commands import origin_of
from api.documented import Documented, opened_to
from api.fields import optional_instant as optional
from api.journal_fields import AccountOrKind, RecordedQuery, UpTo
from api.queries import read_query
from api.security import ADMIN_OR_FINANCE
from api.streams import Pieces, streamed_response
from ledger.decision import fingerprint
from ledger.domain.exports import Format, RecordExport
from ledger.errors import InvalidCommand, JournalIncomplete, Overloaded, ReadModelBehind
from projections.journal_export import JournalFilter, export_journal

MEDIA_TYPES: Final = {"csv": "text/csv", "ndjson": "application/x-ndjson"}
EXAMPLE: Final = (
    "position,entry,recorded_at,event_type,stream,account,currency,debit,credit,balance_after,purchase_request_id,"
    "payment_id,user_id,actor,reference,description,event_hash\r\n"
    "17,1,2026-01-31T12:00:00.123456Z,points.earned.v1,account-user-42,issuance,PTS,320,0,320,,,user-42,shop,"
    f"order-1001,,{'9f' * 32}\r\n"
)


class JournalExportQuery(
    RecordedQuery,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"min_position": "minPosition", "from_": "from", "up_to": "uptoPosition"},
):
    """Which postings, up to where, as what."""

    account: AccountOrKind | None = None
    up_to: UpTo | None = None
    format: Format = "csv"


@get(
    "/api/ledger/export",
    opt=opened_to(
        ADMIN_OR_FINANCE,
        Documented(
            summary="Export the journal",
            description="Every posting of points and money, oldest first, up to the position that `Ledger-Position` names: "
            "the same bytes whenever the same cut is taken again (`uptoPosition`, which is waited for). `csv`: UTF-8, CRLF, "
            "RFC 4180, a header always; amounts with the currency's decimals, balances are debits less credits; a text "
            "that begins with = + - @ tab or CR has a ' before it. `ndjson`: an object a line, with the same names. "
            "`from` and `to` go by the time of recording, half-open. The export is itself recorded, after the cut.",
            tag="ledger",
            query=JournalExportQuery,
            answers={200: "The journal."},
            refusals=(InvalidCommand, Overloaded, JournalIncomplete, ReadModelBehind),
            answer_headers=("Ledger-Position",),
            answer_example=EXAMPLE,
            media_type="text/csv",
            enveloped=False,
        ),
    ),
)
async def journal_export(request: Request[Any, Any, Any]) -> Stream:
    """Sent as the database writes it."""
    call = call_of(request)
    query = read_query(call, JournalExportQuery)
    which = JournalFilter(optional("from", query.from_), optional("to", query.to), query.account, query.currency)

    async def record(cut: int) -> None:
        command = record_of(query.format, cut, which)
        asked = fingerprint(call.method, call.path, call.query)
        await call.resources.handler.handle(command, origin_of(call, asked, None))

    source = export_journal(
        call.resources.models,
        which,
        record,
        format_=query.format,
        up_to=query.up_to,
        min_position=query.min_position,
    )
    named = {"Content-Disposition": f'attachment; filename="journal.{query.format}"'}
    return await streamed_response(call, source, _as_it_comes, MEDIA_TYPES[query.format], **named)


def record_of(format_: Format, cut: int, which: JournalFilter) -> RecordExport:
    """What is written down of an export, under a new id."""
    return RecordExport(
        str(uuid_utils.uuid7()), format_, cut, which.account or "", which.currency or "", which.from_, which.to
    )


async def _as_it_comes(pieces: AsyncIterator[bytes]) -> Pieces:
    async for piece in pieces:
        yield piece


ROUTES: Final = (journal_export,)
