"""Payments as a file: the rows of the list, newest first, as many as there are. Read next: `../streams.py`."""

from collections.abc import AsyncIterator
from typing import Any, Final, Literal

from litestar import Request, get
from litestar.response import Stream

from api import payment_examples as examples
from api.call import call_of
from api.documented import Documented, opened_to
from api.queries import read_query
from api.routes.payment_reads import OF_WHOM, StatsQuery, scope_of
from api.security import SIGNED_IN
from api.streams import Pieces, enveloped, streamed_response
from ledger.errors import InvalidCommand, Overloaded, ReadModelBehind
from ledger.payment_views import PaymentView
from projections.payment_export import csv_of, stream_payments
from projections.payments import view_of


class ExportQuery(StatsQuery, frozen=True, forbid_unknown_fields=True):
    """Which payments, as what."""

    format: Literal["json", "csv"] = "json"


@get(
    "/api/payment/export",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="Export payments",
            description=OF_WHOM
            + " The rows of the list with these filters, newest first and all at once, of one moment: "
            "`Ledger-Position` names it. `json` is the envelope with the list as `data`, no pagination, and the number of "
            "rows as `meta.total`. `csv` is no envelope: UTF-8, RFC 4180, a header always, amounts as decimal strings; a "
            "text that begins with = + - @ tab or CR has a ' before it.",
            tag="payments",
            query=ExportQuery,
            answer=list[PaymentView],
            answers={200: "All payments of the filter."},
            refusals=(InvalidCommand, Overloaded, ReadModelBehind),
            answer_headers=("Ledger-Position",),
            answer_example=[examples.PAYMENT_VIEW],
        ),
    ),
)
async def payment_export(request: Request[Any, Any, Any]) -> Stream:
    """Sent while it is read: of any number of payments some hundred are in memory."""
    call = call_of(request)
    query = read_query(call, ExportQuery)
    source = stream_payments(call.resources.models, scope_of(call, query), min_position=query.min_position)
    if query.format == "json":
        return await streamed_response(call, source, enveloped(call, "Payments.", view_of), "application/json")
    return await streamed_response(
        call,
        source,
        _csv,
        "text/csv",
        **{"Content-Disposition": 'attachment; filename="payments.csv"'},
    )


async def _csv(rows: AsyncIterator[Any]) -> Pieces:
    async for line in csv_of(rows):
        yield line.encode()


ROUTES: Final = (payment_export,)
