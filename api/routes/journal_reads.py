"""The trial balance and the statement of an account, for finance. Read next: `../../projections/journal_balances.py`."""

from typing import Any, Final, Literal

import msgspec
from litestar import Request, Response, get
from litestar.response import Stream

from api.as_of import AsOf, History
from api.as_of import as_of as cut_of
from api.call import call_of, utc_now
from api.documented import Documented, opened_to
from api.envelope import Pagination, success
from api.fields import Instant
from api.fields import optional_instant as optional
from api.journal_fields import BALANCES, STATEMENT, AccountName, AccountOrKind, JournalCurrency
from api.queries import Cursor, read_query
from api.reads import pagination_of
from api.security import ADMIN_OR_FINANCE
from api.streams import enveloped, streamed_response
from ledger.errors import InvalidCommand, JournalIncomplete, NotFound, Overloaded, ReadModelBehind
from ledger.money import MoneyText
from projections.journal_balances import BalanceView, Totals, one_instant, stream_balances, view_of
from projections.journal_statement import StatementEntry, get_statement


class BalancesQuery(History, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which accounts, and when. `at` is another name of `asOf`."""

    at: AsOf | None = None
    account: AccountOrKind | None = None
    currency: JournalCurrency | None = None


class StatementQuery(Cursor, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Which account, and when; `from` and `to` go by the time of recording, half-open. Oldest first."""

    account: AccountName | None = None
    currency: JournalCurrency | None = None
    from_: Instant | None = None
    to: Instant | None = None
    sort_order: Literal["asc", "desc"] = "asc"


class StatementPage(msgspec.Struct, frozen=True):
    """`opening` and all postings of the time asked for, whatever page of them is here, come to `closing`."""

    account: str
    currency: str
    opening: MoneyText
    closing: MoneyText
    entries: list[StatementEntry]
    pagination: Pagination


@get(
    "/api/ledger/balances",
    opt=opened_to(
        ADMIN_OR_FINANCE,
        Documented(
            summary="Trial balance",
            description="What every account holds, or held as of a position or an instant of recording: debits less "
            "credits, so a member's 320 points read -320. All accounts at once, by name, no pages; `meta.totals` sums "
            "what is listed by currency: without a filter of accounts every balance there is zero.",
            tag="ledger",
            query=BalancesQuery,
            answer=list[BalanceView],
            answers={200: "The accounts; `meta.totals` comes last."},
            refusals=(InvalidCommand, Overloaded, JournalIncomplete, ReadModelBehind),
            answer_headers=("Ledger-Position",),
            answer_example=BALANCES,
        ),
    ),
)
async def journal_balances(request: Request[Any, Any, Any]) -> Stream:
    """Sent while it is read: of a million members some hundred are in memory."""
    call = call_of(request)
    query = read_query(call, BalancesQuery)
    asked = one_instant(cut_of(query.as_of), cut_of(query.at))
    totals = Totals()

    def seen(row: Any) -> BalanceView:
        totals.add(row)
        return view_of(row)

    source = stream_balances(
        call.resources.models,
        asked,
        utc_now(),
        account=query.account,
        currency=query.currency,
        min_position=query.min_position,
    )
    write = enveloped(call, "Trial balance.", seen, lambda: {"totals": totals.views()})
    return await streamed_response(call, source, write, "application/json")


@get(
    "/api/ledger/statement",
    opt=opened_to(
        ADMIN_OR_FINANCE,
        Documented(
            summary="Statement of an account",
            description="Its postings with the balance after each, oldest first unless asked otherwise, and what it held "
            "before the first and after the last of the time asked for. `account` is required; `currency` where the account "
            "has several.",
            tag="ledger",
            query=StatementQuery,
            answer=StatementPage,
            answers={200: "The statement; `meta.nextCursor` leads on while writes go on."},
            refusals=(InvalidCommand, NotFound, JournalIncomplete, ReadModelBehind),
            answer_headers=("Ledger-Position",),
            answer_example=STATEMENT,
        ),
    ),
)
async def journal_statement(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Of one moment: opening, entries and closing fit together."""
    call = call_of(request)
    query = read_query(call, StatementQuery)
    if query.account is None:
        raise InvalidCommand.field("account", "is required: an account of the journal, such as member:user-42.")
    answer = await get_statement(
        call.resources.models,
        query.account,
        currency=query.currency,
        from_=optional("from", query.from_),
        to=optional("to", query.to),
        page=query.page,
        limit=query.limit,
        sort_order=query.sort_order,
        after=query.after,
        min_position=query.min_position,
    )
    found = answer.value
    page = pagination_of(found.entries)
    data = StatementPage(found.account, found.currency, found.opening, found.closing, found.entries.rows, page)
    headers = [(b"ledger-position", b"%d" % answer.position)]
    return success(call, "The statement.", data, headers=headers, meta=answer.meta, pagination=page).as_response()


ROUTES: Final = (journal_balances, journal_statement)
