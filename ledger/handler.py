"""The list of use cases: command → the function that reads, decides and says what is appended and answered.

Load → decide → append in the committer's hands; keys, conflicts and repeats are its business, rules are the domain's.
Read next: `use_cases/points.py`, then `domain/points.py` for the rules, `store/committer.py` for the append.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from ledger import ids
from ledger.decision import Answer, Decision, Origin, View
from ledger.domain.dead_letters import ReplayDeadLetter, SkipDeadLetter
from ledger.domain.deliveries import Delivery
from ledger.domain.disputes import AddEvidence, AssignDispute, OpenDispute, ResolveDispute
from ledger.domain.exports import RecordExport
from ledger.domain.instructions import CancelInstruction, ConfirmInstruction, Instruct
from ledger.domain.levels import RedecideLevels
from ledger.domain.payments import CancelPayment, OpenPayment
from ledger.domain.points import (
    DeductPoints,
    EarnPoints,
    ExpireLots,
    GrantPoints,
    LockAccount,
    SpendPoints,
    UnlockAccount,
)
from ledger.domain.programme import ReplaceProgramme
from ledger.domain.purchases import ChangePurchaseStatus, RegisterPurchase
from ledger.domain.redemptions import RedeemPoints
from ledger.domain.referrals import GenerateReferralCode
from ledger.domain.suspense import SettleSuspense
from ledger.errors import LedgerError, StaleVersion
from ledger.store.committer import Committer, Group, Work
from ledger.store.work import Waiting
from ledger.transactions import TransactionAnswer
from ledger.use_cases import deliveries, disputes, exports, members, payments, points, programme, purchases, suspense
from ledger.use_cases.deliveries import DeliveryAnswer
from ledger.use_cases.members import MemberAnswer, ReferralCodeAnswer, RegisterMember
from ledger.use_cases.points import ExpiryAnswer, LevelsAnswer, LockAnswer
from ledger.use_cases.purchases import DiscountAnswer, PurchaseAnswer, RedeemAnswer
from ledger.use_cases.suspense import DeadLetterAnswer, SuspenseAnswer

__all__ = [
    "USE_CASES", "DeadLetterAnswer", "DeliveryAnswer", "DiscountAnswer", "ExpiryAnswer", "Handler", "LevelsAnswer",
    "LockAnswer", "MemberAnswer", "PurchaseAnswer", "RedeemAnswer", "ReferralCodeAnswer", "RegisterMember",
    "SuspenseAnswer", "TransactionAnswer", "subject_stream",
]  # fmt: skip

USE_CASES: Final[Mapping[type, Callable[[View, Any, datetime], Decision]]] = {
    RegisterMember: members.register_member,
    GenerateReferralCode: members.generate_referral_code,
    EarnPoints: points.earn_points,
    GrantPoints: points.grant_points,
    DeductPoints: points.deduct_points,
    SpendPoints: points.spend_points,
    ExpireLots: points.expire_lots,
    LockAccount: points.lock_account,
    UnlockAccount: points.unlock_account,
    RedecideLevels: points.redecide_levels,
    ReplaceProgramme: programme.replace_programme,
    RegisterPurchase: purchases.register_purchase,
    ChangePurchaseStatus: purchases.change_purchase_status,
    RedeemPoints: purchases.redeem_points,
    OpenPayment: payments.open_payment,
    CancelPayment: payments.cancel_payment,
    Instruct: payments.instruct,
    ConfirmInstruction: payments.confirm_instruction,
    CancelInstruction: payments.cancel_instruction,
    Delivery: deliveries.receive_delivery,
    SettleSuspense: suspense.settle_suspense,
    ReplayDeadLetter: suspense.replay_dead_letter,
    SkipDeadLetter: suspense.skip_dead_letter,
    OpenDispute: disputes.open_dispute,
    AssignDispute: disputes.assign_dispute,
    AddEvidence: disputes.add_evidence,
    ResolveDispute: disputes.resolve_dispute,
    RecordExport: exports.record_export,
}


def subject_stream(command: Any) -> str:
    """The stream whose version `If-Match` names: what the command is about."""
    match command:
        case ReplaceProgramme():
            return ids.PROGRAMME_STREAM
        case RegisterPurchase() | ChangePurchaseStatus() | OpenPayment() | OpenDispute():
            return ids.purchase_stream(command.purchase_request_id)
        case CancelPayment() | Instruct() | ConfirmInstruction() | CancelInstruction() | Delivery():
            return ids.payment_stream(command.payment_id)
        case AssignDispute() | AddEvidence() | ResolveDispute():
            return ids.dispute_stream(command.dispute_id)
        case SettleSuspense():
            return ids.suspense_stream(command.suspense_id)
        case ReplayDeadLetter() | SkipDeadLetter():
            return ids.letter_stream(command.letter_id)
        case RecordExport():
            return ids.export_stream(command.export_id)
        case _:
            return ids.account_stream(command.user_id)


class Handler:
    """Gives commands to the committer. One per process."""

    def __init__(self, committer: Committer) -> None:
        """The committer is started and stopped by whoever made it."""
        self._committer = committer

    def handle(self, command: Any, origin: Origin) -> Coroutine[Any, Any, Answer]:
        """Do it once, durably, or raise the `LedgerError` it is refused with. A known key replays its answer."""
        return self._committer.submit(_work(command, origin))

    def handle_for(self, command: Any, origin: Origin, waiting: Waiting) -> None:
        """As `handle`, but it is `waiting` that is told the outcome, from within the committer."""
        self._committer.submit_for(_work(command, origin), waiting)

    async def handle_each(self, commands: Sequence[tuple[Any, Origin]]) -> list[Answer | BaseException]:
        """Do each on its own; the outcomes in order. What nobody expected of one is its own outcome, too."""
        return await self._committer.submit_each([_work(command, origin) for command, origin in commands])

    async def handle_all(self, commands: Sequence[tuple[Any, Origin]]) -> list[Answer] | tuple[int, LedgerError]:
        """Do all or none, in one append. If one is refused: its index and the refusal."""
        group = Group()
        works = [_work(command, origin, group) for command, origin in commands]
        answers = [_outcome(outcome) for outcome in await self._committer.submit_group(works)]
        if group.refusal is not None and answers[group.refusal[0]] is group.refusal[1]:
            return group.refusal
        done = [answer for answer in answers if isinstance(answer, Answer)]
        if len(done) < len(answers):
            raise next(answer for answer in answers if isinstance(answer, LedgerError))
        return done


def _outcome(outcome: Answer | BaseException) -> Answer | LedgerError:
    if type(outcome) is Answer:  # isinstance on a Struct goes through a Python ABC
        return outcome
    if isinstance(outcome, LedgerError):
        return outcome
    assert isinstance(outcome, BaseException), "an outcome is an answer or an error"
    raise outcome


def _work(command: Any, origin: Origin, group: Group | None = None) -> Work:
    # Two objects; a closure over four names is six, and what a command leaves behind is freed at a price.
    return Work(origin, partial(_decide, command, origin), group)


def _decide(command: Any, origin: Origin, view: View) -> Decision:
    expected = origin.expected_version
    if expected is not None:
        stream = subject_stream(command)
        actual = view.version(stream)
        if actual != expected:
            raise StaleVersion(f"The {ids.category(stream)} is at version {actual}, not {expected}.")
    return USE_CASES[type(command)](view, command, origin.now)
