"""The list of use cases: command → which states are read → which rule decides → what is appended and answered.

Load → decide → append in the committer's hands; keys, conflicts and repeats are its business, rules are the domain's.
Read next: `domain/points.py` for the rules, `store/committer.py` for the append.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger import ids
from ledger.decision import Answer, ClaimOnce, Decision, Origin, View
from ledger.domain import points
from ledger.errors import AlreadyEarned, LedgerError, StaleVersion, UnknownReferralCode
from ledger.store.committer import Committer, Group, Work
from ledger.store.port import DirectoryRow
from ledger.transactions import Transaction, transaction_of


class RegisterMember(msgspec.Struct, frozen=True):
    """Open the account if it is not, and write name and avatar into the directory."""

    user_id: str
    name: str
    avatar: str | None = None
    referral_code: str | None = None


class TransactionAnswer(msgspec.Struct, rename="camel"):
    """The transaction that came of a command, and the balance after everything the command did."""

    transaction: Transaction
    new_balance: int


class MemberAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """No name and no avatar: answers are kept for ever, and a member may ask to be forgotten."""

    user_id: str
    opened: bool


class LockAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The account's lock after the command."""

    user_id: str
    locked: bool
    reason: str


class ExpiryAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """How many lots were found overdue."""

    user_id: str
    expired_lots: int


def register_member(view: View, command: RegisterMember, _now: datetime) -> Decision:
    """201 for a new member, 200 for a known one, whose name and avatar are updated."""
    stream = ids.account_stream(command.user_id)
    if command.referral_code is not None:
        raise UnknownReferralCode(f"No member has the referral code {command.referral_code}.")
    events = points.decide_open(points.OpenAccount(command.user_id), view.read(stream))
    return Decision(
        201 if events else 200,
        MemberAnswer(command.user_id, opened=bool(events)),
        [(stream, events)],
        directory=DirectoryRow(command.user_id, command.name, command.avatar),
    )


def earn_claim(user_id: str, source: str, reference: str) -> ClaimOnce:
    """What may be earned once."""

    def refusal() -> AlreadyEarned:
        return AlreadyEarned(f"{source} {reference} was already earned by {user_id}.")

    return ClaimOnce("earn", f"{user_id}/{source}/{reference}", refusal)


def earn_points(view: View, command: points.EarnPoints, now: datetime) -> Decision:
    """One earn per (user, source, reference)."""
    stream = ids.account_stream(command.user_id)
    events = points.decide_earn(command, view.read(stream), view.read(ids.PROGRAMME_STREAM), now)
    claim = earn_claim(command.user_id, command.source, command.reference)
    return Decision(201, _transaction_answer(events, points.PointsEarned), [(stream, events)], [claim])


def grant_points(view: View, command: points.GrantPoints, now: datetime) -> Decision:
    """An admin gives points."""
    stream = ids.account_stream(command.user_id)
    events = points.decide_grant(command, view.read(stream), view.read(ids.PROGRAMME_STREAM), now)
    return Decision(200, _transaction_answer(events, points.PointsGranted), [(stream, events)])


def deduct_points(view: View, command: points.DeductPoints, now: datetime) -> Decision:
    """An admin takes points."""
    stream = ids.account_stream(command.user_id)
    events = points.decide_deduct(command, view.read(stream), now)
    return Decision(200, _transaction_answer(events, points.PointsDeducted), [(stream, events)])


def spend_points(view: View, command: points.SpendPoints, now: datetime) -> Decision:
    """A member pays with points."""
    stream = ids.account_stream(command.user_id)
    events = points.decide_spend(command, view.read(stream), now)
    return Decision(200, _transaction_answer(events, points.PointsSpent), [(stream, events)])


def expire_lots(view: View, command: points.ExpireLots, now: datetime) -> Decision:
    """Record what is overdue on one account."""
    stream = ids.account_stream(command.user_id)
    events = points.decide_expire(command, view.read(stream), now)
    return Decision(200, ExpiryAnswer(command.user_id, len(events)), [(stream, events)])


def lock_account(view: View, command: points.LockAccount, now: datetime) -> Decision:
    """Spending stops. Locking a locked account changes nothing and answers the reason it is locked for."""
    stream = ids.account_stream(command.user_id)
    account = view.read(stream)
    events = points.decide_lock(command, account, now)
    reason = command.reason if events else account.lock_reason
    return Decision(200, LockAnswer(command.user_id, locked=True, reason=reason), [(stream, events)])


def unlock_account(view: View, command: points.UnlockAccount, now: datetime) -> Decision:
    """Spending is allowed again; unlocking twice is the same."""
    stream = ids.account_stream(command.user_id)
    events = points.decide_unlock(command, view.read(stream), now)
    return Decision(200, LockAnswer(command.user_id, locked=False, reason=command.reason), [(stream, events)])


USE_CASES: Final[Mapping[type, Callable[[View, Any, datetime], Decision]]] = {
    RegisterMember: register_member,
    points.EarnPoints: earn_points,
    points.GrantPoints: grant_points,
    points.DeductPoints: deduct_points,
    points.SpendPoints: spend_points,
    points.ExpireLots: expire_lots,
    points.LockAccount: lock_account,
    points.UnlockAccount: unlock_account,
}


class Handler:
    """Gives commands to the committer. One per process."""

    def __init__(self, committer: Committer) -> None:
        """The committer is started and stopped by whoever made it."""
        self._committer = committer

    def handle(self, command: Any, origin: Origin) -> Coroutine[Any, Any, Answer]:
        """Do it once, durably, or raise the `LedgerError` it is refused with. A known key replays its answer."""
        return self._committer.submit(_work(command, origin))

    async def handle_each(self, commands: Sequence[tuple[Any, Origin]]) -> list[Answer | LedgerError]:
        """Do each on its own; the outcomes in order."""
        works = [_work(command, origin) for command, origin in commands]
        return [_outcome(outcome) for outcome in await self._committer.submit_each(works)]

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
    use_case = USE_CASES[type(command)]
    now = origin.now
    expected = origin.expected_version

    def decide(view: View) -> Decision:
        if expected is not None:
            actual = view.version(ids.account_stream(command.user_id))
            if actual != expected:
                raise StaleVersion(f"The account is at version {actual}, not {expected}.")
        return use_case(view, command, now)

    return Work(origin, decide, group)


def _transaction_answer(events: Sequence[points.Event], kind: type) -> TransactionAnswer:
    """The line of the event the command was about, and the balance after the last event that moves it."""
    balance = 0
    transaction = None
    for offset, event in enumerate(events):
        if type(event) is kind:
            transaction = transaction_of(event, offset)
        balance = getattr(event, "balance", balance)
    assert transaction is not None, "a decision always holds the event it is about"
    return TransactionAnswer(transaction, balance)
