"""Disputes: a party has money held, somebody neutral decides where it goes.

Read next: `../../ledger/domain/disputes.py` for the rules, `dispute_reads.py`.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from api import payment_examples as examples
from api.call import Call
from api.commands import CommandRoute, PathParams
from api.documented import Documented
from api.fields import MoneyBody, PurchaseId, Reason, UserId, WebUrl, checked_dispute_id
from api.security import ADMIN_OR_RESOLVER, NOT_FINANCE
from ledger.domain.dispute_events import Action, Category, Priority
from ledger.domain.disputes import AddEvidence, AssignDispute, OpenDispute, ResolveDispute
from ledger.errors import InvalidCommand, InvalidTransition, NotYourPurchase, PurchaseNotFound
from ledger.money import Money, MoneyText, parse_money
from ledger.new_ids import fresh_id
from ledger.payment_errors import AmountNotAvailable, AmountOnHold, DisputeExists, DisputeNotFound, NotYourDispute
from ledger.payment_views import DisputeView

Text = Annotated[
    str, Meta(min_length=1, max_length=5000, pattern=r"\S", description="1-5000 characters, not only blanks")
]


class DisputeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """About which purchase, why, and how much of the money is to be held; all that is held if nothing is said."""

    purchase_request_id: PurchaseId
    category: Category
    priority: Priority
    reason: Reason
    amount: MoneyBody | None = None


class AssignBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Who takes it up."""

    resolver_id: UserId


class EvidenceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be known, and where more is to be seen."""

    text: Text
    url: WebUrl | None = None


class ResolveBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The decision; `toBuyer` and `toSeller` together are the disputed amount, if either is given."""

    action: Action
    note: Reason
    to_buyer: MoneyBody | None = None
    to_seller: MoneyBody | None = None


def open_command(body: DisputeBody, _params: PathParams, call: Call) -> OpenDispute:
    """For the party who signed in."""
    return OpenDispute(
        fresh_id("dsp"),
        body.purchase_request_id,
        call.signed_in.id,
        body.category,
        body.priority,
        body.reason,
        _money(body.amount, "amount"),
    )


def assign_command(body: AssignBody, params: PathParams, _call: Call) -> AssignDispute:
    return AssignDispute(checked_dispute_id(params["dispute_id"]), body.resolver_id)


def evidence_command(body: EvidenceBody, params: PathParams, call: Call) -> AddEvidence:
    caller = call.signed_in
    dispute_id = checked_dispute_id(params["dispute_id"])
    return AddEvidence(fresh_id("evd"), dispute_id, caller.id, caller.role, body.text, body.url or "")


def resolve_command(body: ResolveBody, params: PathParams, call: Call) -> ResolveDispute:
    return ResolveDispute(
        checked_dispute_id(params["dispute_id"]),
        call.signed_in.id,
        body.action,
        body.note,
        fresh_id("ins"),
        fresh_id("ins"),
        _money(body.to_buyer, "toBuyer"),
        _money(body.to_seller, "toSeller"),
    )


def _money(body: MoneyBody | None, field: str) -> Money | None:
    return None if body is None else parse_money(MoneyText(body.amount, body.currency), field)


OPEN_DISPUTE: Final = CommandRoute(
    path="/api/disputes",
    access=NOT_FINANCE,
    decoder=msgspec.json.Decoder(DisputeBody),
    build=open_command,
    messages={201: "Dispute opened."},
    documented=Documented(
        summary="Open a dispute",
        description="By the buyer or the seller of the purchase. So much of what is held is disputed from now on: neither "
        "released nor refunded. One open dispute a purchase.",
        tag="disputes",
        body=DisputeBody,
        answer=DisputeView,
        answers={201: "The dispute, pending."},
        refusals=(
            InvalidCommand,
            NotYourPurchase,
            PurchaseNotFound,
            DisputeExists,
            AmountOnHold,
            AmountNotAvailable,
        ),
        body_example=examples.DISPUTE,
        answer_example=examples.DISPUTE_VIEW,
    ),
)
ASSIGN: Final = CommandRoute(
    path="/api/disputes/{dispute_id:str}/assign",
    access=ADMIN_OR_RESOLVER,
    decoder=msgspec.json.Decoder(AssignBody),
    build=assign_command,
    messages={200: "Dispute assigned."},
    documented=Documented(
        summary="Give a dispute to a resolver",
        description="It is in progress from then on. A resolver is neither buyer nor seller.",
        tag="disputes",
        body=AssignBody,
        answer=DisputeView,
        answers={200: "The dispute, in progress."},
        refusals=(InvalidCommand, DisputeNotFound, InvalidTransition),
        body_example={"resolverId": "resolver-3"},
        answer_example=examples.DISPUTE_VIEW | {"status": "in_progress", "resolverId": "resolver-3"},
    ),
)
EVIDENCE: Final = CommandRoute(
    path="/api/disputes/{dispute_id:str}/evidence",
    access=NOT_FINANCE,
    decoder=msgspec.json.Decoder(EvidenceBody),
    build=evidence_command,
    messages={200: "Evidence added."},
    documented=Documented(
        summary="Add evidence",
        description="By the parties, resolvers and admins, until it is decided.",
        tag="disputes",
        body=EvidenceBody,
        answer=DisputeView,
        answers={200: "The dispute with it."},
        refusals=(InvalidCommand, NotYourDispute, DisputeNotFound, InvalidTransition),
        body_example=examples.EVIDENCE,
        answer_example=examples.DISPUTE_VIEW,
    ),
)
RESOLVE: Final = CommandRoute(
    path="/api/disputes/{dispute_id:str}/resolve",
    access=ADMIN_OR_RESOLVER,
    decoder=msgspec.json.Decoder(ResolveBody),
    build=resolve_command,
    messages={200: "Dispute resolved."},
    documented=Documented(
        summary="Decide a dispute",
        description="Never by a party. Each part that is not nothing becomes an instruction; the dispute is closed when they "
        "are confirmed or cancelled. With neither part given, `refund` sends all to the buyer, any other action returns it "
        "to what is held, and the dispute is closed at once.",
        tag="disputes",
        body=ResolveBody,
        answer=DisputeView,
        answers={200: "The dispute, resolved."},
        refusals=(InvalidCommand, NotYourDispute, DisputeNotFound, InvalidTransition),
        body_example=examples.RESOLVE,
        answer_example=examples.DISPUTE_VIEW
        | {"status": "resolved", "action": "compensation", "instructions": [examples.INSTRUCTION]},
    ),
)

ROUTES: Final = (OPEN_DISPUTE.handler, ASSIGN.handler, EVIDENCE.handler, RESOLVE.handler)
