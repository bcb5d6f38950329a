"""Points: what a member has and how it came about, and the earning of them.

Read next: `batch.py` for many commands at once, `../commands.py` for what runs `EARN`.
"""

from typing import Any, Final, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath
from msgspec import UNSET, UnsetType

from api import examples
from api.call import call_of, utc_now
from api.commands import CommandRoute
from api.documented import Documented, opened_to
from api.envelope import Pagination
from api.fields import (
    Description,
    Instant,
    Metadata,
    Points,
    Reference,
    UserId,
    checked_metadata,
    checked_user_id,
    deadline,
)
from api.fields import optional_instant as optional
from api.queries import Cursor, Freshness, read_query
from api.reads import list_response, read_response
from api.security import BACK_OFFICE, SERVICE_OR_ADMIN, SIGNED_IN
from ledger.domain.points import EarnPoints
from ledger.errors import AlreadyEarned, BalanceTooLarge, InvalidCommand, ReadModelBehind, StaleVersion, UserNotFound
from ledger.handler import TransactionAnswer
from ledger.transactions import Transaction
from projections.points import PointsSummary, get_account, get_points
from projections.transactions import list_transactions

Source = Literal["purchase", "referral", "review", "bonus"]
TransactionType = Literal["earn", "spend", "expire", "admin_grant", "admin_deduct", "restore", "clawback"]


class EarnBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Points for something the member did. `amount` may be left out for a review."""

    user_id: UserId
    source: Source
    reference: Reference
    amount: Points | None = None
    occurred_at: Instant | None = None
    expires_at: Instant | UnsetType | None = UNSET
    description: Description = ""
    metadata: Metadata = {}


class TransactionsQuery(Cursor, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Filters of a member's history; `from` and `to` go by `occurredAt`, half-open."""

    type: TransactionType | None = None
    from_: Instant | None = None
    to: Instant | None = None


class TransactionsPage(msgspec.Struct, frozen=True):
    """A page of a member's history."""

    transactions: list[Transaction]
    pagination: Pagination


def earn_command(body: EarnBody) -> EarnPoints:
    """The command of an earn, single or in a batch."""
    return EarnPoints(
        body.user_id,
        body.amount,
        body.source,
        body.reference,
        optional("occurredAt", body.occurred_at),
        deadline(body.expires_at),
        body.description,
        checked_metadata(body.metadata),
    )


EARN: Final = CommandRoute(
    path="/api/points/earn",
    access=SERVICE_OR_ADMIN,
    decoder=msgspec.json.Decoder(EarnBody),
    build=lambda body, _params, _call: earn_command(body),
    messages={201: "Points earned."},
    documented=Documented(
        summary="Earn points for a member",
        description="One earn per user, source and reference. A source of review may leave out the amount.",
        tag="points",
        body=EarnBody,
        answer=TransactionAnswer,
        answers={201: "The transaction and the new balance."},
        refusals=(InvalidCommand, BalanceTooLarge, UserNotFound, AlreadyEarned, StaleVersion),
        body_example=examples.EARN,
        answer_example=examples.TRANSACTION_ANSWER,
    ),
)


@get(
    "/api/points/my-points",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="The caller's points, level and what expires soon",
            description="Zeros for a user without an account.",
            tag="points",
            query=Freshness,
            answer=PointsSummary,
            answers={200: "The points."},
            refusals=(ReadModelBehind,),
            answer_headers=("ETag",),
            answer_example=examples.POINTS,
        ),
    ),
)
async def my_points(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Goes by the token's user id, whatever else the request says."""
    call = call_of(request)
    query = read_query(call, Freshness)
    programme = await call.resources.programmes.current(query.min_position)
    answer = await get_points(
        call.resources.models, call.signed_in.id, utc_now(), programme, min_position=query.min_position
    )
    return read_response(call, "Your points.", answer)


@get(
    "/api/points/accounts/{user_id:str}",
    opt=opened_to(
        BACK_OFFICE,
        Documented(
            summary="The points of any member",
            tag="points",
            query=Freshness,
            answer=PointsSummary,
            answers={200: "The points."},
            refusals=(UserNotFound, ReadModelBehind),
            answer_headers=("ETag",),
            answer_example=examples.POINTS,
        ),
    ),
)
async def account_points(request: Request[Any, Any, Any], user_id: FromPath[str]) -> Response[bytes]:
    """The same as `my-points`, for a user the back office names."""
    call = call_of(request)
    query = read_query(call, Freshness)
    user_id = checked_user_id(user_id)
    programme = await call.resources.programmes.current(query.min_position)
    answer = await get_account(call.resources.models, user_id, utc_now(), programme, min_position=query.min_position)
    return read_response(call, "The member's points.", answer)


@get(
    "/api/points/transactions",
    opt=opened_to(
        SIGNED_IN,
        Documented(
            summary="The caller's history",
            tag="points",
            query=TransactionsQuery,
            answer=TransactionsPage,
            answers={200: "A page of transactions; `meta.nextCursor` leads on while writes go on."},
            refusals=(InvalidCommand, ReadModelBehind),
            answer_example=examples.TRANSACTIONS,
        ),
    ),
)
async def transactions(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Newest first unless asked otherwise."""
    call = call_of(request)
    query = read_query(call, TransactionsQuery)
    answer = await list_transactions(
        call.resources.models,
        call.signed_in.id,
        type_=query.type,
        from_=optional("from", query.from_),
        to=optional("to", query.to),
        page=query.page,
        limit=query.limit,
        sort_order=query.sort_order,
        after=query.after,
        min_position=query.min_position,
    )
    return list_response(call, "Your transactions.", answer, TransactionsPage)


ROUTES: Final = (my_points, account_points, transactions, EARN.handler)
