"""What an admin does about money that belongs nowhere yet, and about deliveries that could not be true.

Read next: `../../../ledger/use_cases/suspense.py`.
"""

from typing import Final

import msgspec

from api import payment_examples as examples
from api.call import Call
from api.commands import CommandRoute, PathParams
from api.documented import Documented
from api.fields import NoBody, PaymentId, Reason, TxHash, checked_letter_id, checked_suspense_id
from api.security import ADMIN
from ledger.domain.dead_letters import ReplayDeadLetter, SkipDeadLetter
from ledger.domain.suspense import Action, SettleSuspense
from ledger.errors import Conflict, InvalidCommand, InvalidTransition
from ledger.handler import DeadLetterAnswer, SuspenseAnswer
from ledger.new_ids import fresh_id
from ledger.payment_errors import (
    AmountNotAvailable,
    DeadLetterNotFound,
    PaymentNotFound,
    StillImpossible,
    SuspenseNotFound,
    TxHashUsed,
)


class SettleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`return` it (by that transaction), or `apply` it to a payment."""

    action: Action
    reason: Reason
    payment_id: PaymentId | None = None
    tx_hash: TxHash | None = None


class SkipBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why nothing will come of it."""

    reason: Reason


def settle_command(body: SettleBody, params: PathParams, _call: Call) -> SettleSuspense:
    """Refused: a payment to return to, a transaction to apply by: each would say nothing."""
    if body.action == "return" and body.payment_id is not None:
        raise InvalidCommand.field("paymentId", "has no meaning when the money is returned.")
    if body.action == "apply" and body.tx_hash is not None:
        raise InvalidCommand.field("txHash", "has no meaning when the money is applied.")
    suspense_id = checked_suspense_id(params["suspense_id"])
    return SettleSuspense(suspense_id, body.action, body.reason, body.payment_id or "", body.tx_hash or "")


def replay_command(_body: NoBody, params: PathParams, _call: Call) -> ReplayDeadLetter:
    return ReplayDeadLetter(_webhook_letter(params["letter_id"], "replay"), fresh_id("dl"))


def skip_command(body: SkipBody, params: PathParams, _call: Call) -> SkipDeadLetter:
    return SkipDeadLetter(_webhook_letter(params["letter_id"], "skip"), body.reason)


def _webhook_letter(letter_id: str, outcome: str) -> str:
    """An event that a read model could not apply is no delivery: the role of the API may not write there."""
    kind, _, number = checked_letter_id(letter_id).partition("-")
    if kind == "projection" and number.isdecimal():
        raise Conflict(f"This is an event of a read model: `ledger project {outcome} {number}` does it.")
    return letter_id


SETTLE: Final = CommandRoute(
    path="/api/admin/suspense/{suspense_id:str}/settle",
    access=ADMIN,
    decoder=msgspec.json.Decoder(SettleBody),
    build=settle_command,
    messages={200: "Settled."},
    documented=Documented(
        summary="Settle money in suspense",
        description="`return` gives all of it back through the provider; `apply` counts it for a payment, as far as that "
        "lacks it: the rest waits on.",
        tag="admin",
        body=SettleBody,
        answer=SuspenseAnswer,
        answers={200: "What found its place, and what still waits."},
        refusals=(
            InvalidCommand,
            SuspenseNotFound,
            PaymentNotFound,
            InvalidTransition,
            AmountNotAvailable,
            TxHashUsed,
        ),
        body_example=examples.SETTLE,
        answer_example=examples.SETTLE_ANSWER,
    ),
)
REPLAY: Final = CommandRoute(
    path="/api/admin/dead-letters/{letter_id:str}/replay",
    access=ADMIN,
    decoder=msgspec.json.Decoder(NoBody),
    build=replay_command,
    messages={200: "Replayed."},
    documented=Documented(
        summary="Replay a dead letter",
        description="The delivery is asked again whether it is true now; its money leaves suspense for its payment.",
        tag="admin",
        body=NoBody,
        body_required=False,
        answer=DeadLetterAnswer,
        answers={200: "It was applied."},
        refusals=(InvalidCommand, DeadLetterNotFound, Conflict, InvalidTransition, StillImpossible, TxHashUsed),
        body_example={},
        answer_example=examples.LETTER_ANSWER,
    ),
)
SKIP: Final = CommandRoute(
    path="/api/admin/dead-letters/{letter_id:str}/skip",
    access=ADMIN,
    decoder=msgspec.json.Decoder(SkipBody),
    build=skip_command,
    messages={200: "Put away."},
    documented=Documented(
        summary="Put a dead letter away",
        description="Nothing will come of it. It is kept all the same; money that came with it waits on in suspense.",
        tag="admin",
        body=SkipBody,
        answer=DeadLetterAnswer,
        answers={200: "It is put away."},
        refusals=(InvalidCommand, DeadLetterNotFound, Conflict, InvalidTransition),
        body_example={"reason": "A test of the provider"},
        answer_example=examples.LETTER_ANSWER | {"status": "skipped"},
    ),
)

ROUTES: Final = (SETTLE.handler, REPLAY.handler, SKIP.handler)
