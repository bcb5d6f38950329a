"""Points given and taken by an admin. Read next: `../batch.py` for many at once."""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from api import examples
from api.call import Call
from api.commands import CommandRoute, PathParams
from api.documented import Documented
from api.fields import Instant, Metadata, Reason, SignedPoints, UserId, checked_metadata, deadline
from api.fields import optional_instant as optional
from api.security import ADMIN
from ledger.domain.points import DeductPoints, GrantPoints
from ledger.errors import BalanceTooLarge, InvalidCommand, StaleVersion, UserNotFound, WouldGoBelowZero
from ledger.handler import TransactionAnswer


class AddBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A positive amount grants, a negative one deducts."""

    user_id: UserId
    amount: SignedPoints
    reason: Reason
    metadata: Metadata = {}
    occurred_at: Instant | None = None
    expires_at: Instant | UnsetType | None = UNSET


def add_command(body: AddBody, _params: PathParams, _call: Call) -> GrantPoints | DeductPoints:
    """A grant or a deduction. A deduction makes no lot, hence has no deadline."""
    occurred_at = optional("occurredAt", body.occurred_at)
    metadata = checked_metadata(body.metadata)
    if body.amount > 0:
        expires_at = deadline(body.expires_at)
        return GrantPoints(body.user_id, body.amount, body.reason, None, occurred_at, expires_at, metadata)
    if body.amount == 0:
        raise InvalidCommand.field("amount", "must not be 0.")
    if body.expires_at is not UNSET:
        raise InvalidCommand.field("expiresAt", "has no meaning for a deduction.")
    return DeductPoints(body.user_id, -body.amount, body.reason, None, occurred_at, metadata)


ADD: Final = CommandRoute(
    path="/api/points/admin/add",
    access=ADMIN,
    key="optional",
    decoder=msgspec.json.Decoder(AddBody),
    build=add_command,
    messages={200: "Points adjusted."},
    documented=Documented(
        summary="Grant or deduct points",
        description="A positive amount grants, a negative one deducts. Granted points never expire unless told to.",
        tag="admin",
        body=AddBody,
        answer=TransactionAnswer,
        answers={200: "The transaction and the new balance."},
        refusals=(InvalidCommand, WouldGoBelowZero, BalanceTooLarge, UserNotFound, StaleVersion),
        body_example=examples.ADMIN_ADD,
        answer_example=examples.TRANSACTION_ANSWER,
    ),
)

ROUTES: Final = (ADD.handler,)
