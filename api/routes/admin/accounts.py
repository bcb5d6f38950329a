"""Accounts in the hands of an admin: locked, so that nothing is spent from them, and unlocked.

Read next: `../../commands.py`.
"""

from typing import Any, Final

import msgspec

from api import examples
from api.call import Call
from api.commands import CommandRoute, PathParams
from api.documented import Documented
from api.fields import Reason, checked_user_id
from api.security import ADMIN
from ledger.domain.points import LockAccount, UnlockAccount
from ledger.errors import InvalidCommand, StaleVersion, UserNotFound
from ledger.handler import LockAnswer


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

ROUTES: Final = (LOCK.handler, UNLOCK.handler)
