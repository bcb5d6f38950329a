"""Releases and refunds in two steps: instructed, which reserves the amount; confirmed by its transaction, or cancelled.

Both kinds have the same three routes, made from the same rows. Read next: `../../ledger/domain/instructions.py`.
"""

from typing import Final

import msgspec
from litestar.handlers import HTTPRouteHandler

from api import payment_examples as examples
from api.call import Call
from api.commands import CommandRoute, PathParams
from api.documented import Documented
from api.fields import InstructionId, MoneyBody, TxHash, checked_payment_id
from api.security import NOT_FINANCE, SERVICE_ADMIN_RESOLVER, SERVICE_OR_ADMIN
from ledger.domain.instructions import CancelInstruction, ConfirmInstruction, Instruct
from ledger.domain.payment_events import Kind
from ledger.errors import InvalidCommand, InvalidTransition
from ledger.money import MoneyText, parse_money
from ledger.new_ids import fresh_id
from ledger.payment_errors import (
    AmountNotAvailable,
    AmountOnHold,
    InstructionNotFound,
    NotYourPayment,
    PaymentNotFound,
    TxHashUsed,
)
from ledger.payment_views import InstructionView


class InstructBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of what is held; all of it if nothing is said."""

    amount: MoneyBody | None = None


class ConfirmBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which instruction was paid out, and by which transaction."""

    instruction_id: InstructionId
    tx_hash: TxHash


class CancelBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which instruction will not be paid out."""

    instruction_id: InstructionId


WHO: Final[dict[Kind, str]] = {
    "release": "To the seller, by the buyer of the purchase or an admin.",
    "refund": "Back to the buyer, by the seller or an admin. The platform's fee goes back with it, in proportion.",
}


def _instruct(kind: Kind) -> CommandRoute:
    def command(body: InstructBody, params: PathParams, call: Call) -> Instruct:
        amount = body.amount
        wanted = None if amount is None else parse_money(MoneyText(amount.amount, amount.currency), "amount")
        caller = call.signed_in
        payment_id = checked_payment_id(params["payment_id"])
        return Instruct(fresh_id("ins"), payment_id, kind, wanted, caller.id, caller.role)

    return CommandRoute(
        path=f"/api/payment/{{payment_id:str}}/{kind}",
        access=NOT_FINANCE,
        decoder=msgspec.json.Decoder(InstructBody),
        build=command,
        messages={201: f"{kind.capitalize()} instructed."},
        documented=Documented(
            summary=f"Instruct a {kind}",
            description=f"{WHO[kind]} Reserves the amount; the money has left when the instruction is confirmed.",
            tag="payments",
            body=InstructBody,
            body_required=False,
            answer=InstructionView,
            answers={201: "The instruction, reserved."},
            refusals=(InvalidCommand, NotYourPayment, PaymentNotFound, AmountOnHold, AmountNotAvailable),
            body_example=examples.INSTRUCT,
            answer_example=examples.INSTRUCTION | {"kind": kind},
        ),
    )


def _confirm(kind: Kind) -> CommandRoute:
    def command(body: ConfirmBody, params: PathParams, _call: Call) -> ConfirmInstruction:
        return ConfirmInstruction(body.instruction_id, checked_payment_id(params["payment_id"]), kind, body.tx_hash)

    return CommandRoute(
        path=f"/api/payment/{{payment_id:str}}/{kind}/confirm",
        access=SERVICE_OR_ADMIN,
        decoder=msgspec.json.Decoder(ConfirmBody),
        build=command,
        messages={200: f"{kind.capitalize()} confirmed."},
        documented=Documented(
            summary=f"Confirm a {kind}",
            description="The money has left by that transaction: the entry is made here. The same confirmation again is the "
            "same answer. A transaction belongs to one payment or one instruction.",
            tag="payments",
            body=ConfirmBody,
            answer=InstructionView,
            answers={200: "The instruction, confirmed."},
            refusals=(InvalidCommand, PaymentNotFound, InstructionNotFound, InvalidTransition, TxHashUsed),
            body_example=examples.CONFIRM,
            answer_example=examples.INSTRUCTION
            | {"kind": kind, "status": "confirmed", "txHash": examples.CONFIRM["txHash"]},
        ),
    )


def _cancel(kind: Kind) -> CommandRoute:
    def command(body: CancelBody, params: PathParams, _call: Call) -> CancelInstruction:
        return CancelInstruction(body.instruction_id, checked_payment_id(params["payment_id"]), kind)

    return CommandRoute(
        path=f"/api/payment/{{payment_id:str}}/{kind}/cancel",
        access=SERVICE_ADMIN_RESOLVER,
        decoder=msgspec.json.Decoder(CancelBody),
        build=command,
        messages={200: f"{kind.capitalize()} cancelled."},
        documented=Documented(
            summary=f"Cancel a {kind} that is not confirmed",
            description="The reserved amount is held again. Cancelling twice is the same answer.",
            tag="payments",
            body=CancelBody,
            answer=InstructionView,
            answers={200: "The instruction, cancelled."},
            refusals=(InvalidCommand, PaymentNotFound, InstructionNotFound, InvalidTransition),
            body_example={"instructionId": examples.INSTRUCTION["instructionId"]},
            answer_example=examples.INSTRUCTION | {"kind": kind, "status": "cancelled"},
        ),
    )


KINDS: Final[tuple[Kind, ...]] = ("release", "refund")
ROUTES: Final[tuple[HTTPRouteHandler, ...]] = tuple(
    made(kind).handler for kind in KINDS for made in (_instruct, _confirm, _cancel)
)
