"""Accounts in the hands of an admin: as they stand or stood, explained, locked and unlocked.

Read next: `../../commands.py`, `../../../projections/account_as_of.py`.
"""

from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath

from api import examples
from api.as_of import AsOf, as_of
from api.call import Call, call_of, utc_now
from api.commands import CommandRoute, PathParams
from api.documented import Documented, opened_to
from api.fields import Reason, checked_user_id
from api.queries import Freshness, read_query
from api.reads import read_response, wait_for_log
from api.security import ADMIN, ADMIN_OR_FINANCE
from ledger.domain.points import LockAccount, UnlockAccount
from ledger.errors import InvalidCommand, ReadModelBehind, StaleVersion, UserNotFound
from ledger.handler import LockAnswer
from projections.account_as_of import AccountState, ExplainedAccount, explain_account, get_account_as_of


class AccountQuery(Freshness, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The moment: now, unless given."""

    as_of: AsOf | None = None


@get(
    "/api/admin/accounts/{user_id:str}",
    opt=opened_to(
        ADMIN_OR_FINANCE,
        Documented(
            summary="An account, now or as it stood",
            description="With `asOf`, as of a position or an instant of recording: everything recorded up to then, and "
            "deadlines read by the clock of then. Such an answer never changes. Folded from the log, no read model.",
            tag="admin",
            query=AccountQuery,
            answer=AccountState,
            answers={200: "The account; `lots` are the first 1000 of `lotsTotal`, in the order they are spent."},
            refusals=(InvalidCommand, UserNotFound, ReadModelBehind),
            answer_headers=("ETag", "Ledger-Position"),
            answer_example=examples.ACCOUNT_STATE,
        ),
    ),
)
async def account(request: Request[Any, Any, Any], user_id: FromPath[str]) -> Response[bytes]:
    """What it has and why it may not be spent."""
    call = call_of(request)
    query = read_query(call, AccountQuery)
    await wait_for_log(call, query.min_position)
    user_id = checked_user_id(user_id)
    answer = await get_account_as_of(call.resources.pool, user_id, as_of(query.as_of), utc_now())
    return read_response(call, "The account.", answer)


@get(
    "/api/admin/accounts/{user_id:str}/explain",
    opt=opened_to(
        ADMIN_OR_FINANCE,
        Documented(
            summary="What adds up to an account's balance",
            description="Every event that changed the balance, and the balance after it. A lot whose deadline has passed "
            "and whose expiry nobody has recorded yet is a line whose position is null. `residual` is what is left "
            "unexplained: 0. Beyond 10,000 lines the first is `brought-forward`, the sum of all before.",
            tag="admin",
            query=AccountQuery,
            answer=ExplainedAccount,
            answers={200: "The account with its lines, oldest first."},
            refusals=(InvalidCommand, UserNotFound, ReadModelBehind),
            answer_headers=("ETag", "Ledger-Position"),
            answer_example=examples.ACCOUNT_EXPLAINED,
        ),
    ),
)
async def explained(request: Request[Any, Any, Any], user_id: FromPath[str]) -> Response[bytes]:
    """The events and lots behind the number."""
    call = call_of(request)
    query = read_query(call, AccountQuery)
    await wait_for_log(call, query.min_position)
    user_id = checked_user_id(user_id)
    answer = await explain_account(call.resources.pool, user_id, as_of(query.as_of), utc_now())
    return read_response(call, "The account, explained.", answer)


class LockBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: Reason


def lock_command(body: LockBody, params: PathParams, _call: Call) -> LockAccount:
    return LockAccount(checked_user_id(params["user_id"]), body.reason)


def unlock_command(body: LockBody, params: PathParams, _call: Call) -> UnlockAccount:
    return UnlockAccount(checked_user_id(params["user_id"]), body.reason)


def _documented(summary: str, example: dict[str, Any]) -> Documented:
    return Documented(
        summary=summary,
        description="Doing it twice is the same as once.",
        tag="admin",
        body=LockBody,
        answer=LockAnswer,
        answers={200: "The lock after the command."},
        refusals=(InvalidCommand, UserNotFound, StaleVersion),
        body_example=examples.LOCK,
        answer_example=example,
    )


LOCK: Final = CommandRoute(
    path="/api/admin/accounts/{user_id:str}/lock",
    access=ADMIN,
    decoder=msgspec.json.Decoder(LockBody),
    build=lock_command,
    messages={200: "Account locked."},
    documented=_documented("Stop all spending from an account", examples.LOCK_ANSWER),
)
UNLOCK: Final = CommandRoute(
    path="/api/admin/accounts/{user_id:str}/unlock",
    access=ADMIN,
    decoder=msgspec.json.Decoder(LockBody),
    build=unlock_command,
    messages={200: "Account unlocked."},
    documented=_documented("Allow spending again", {**examples.LOCK_ANSWER, "locked": False}),
)

ROUTES: Final = (account, explained, LOCK.handler, UNLOCK.handler)
