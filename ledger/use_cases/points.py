"""Use cases of an account: earn, grant, deduct, spend, expire, lock, unlock, and its level when the levels change.

Read next: `../domain/points.py` for the rules.
"""

from datetime import datetime
from functools import partial

import msgspec

from ledger import ids
from ledger.decision import ClaimOnce, Decision, View
from ledger.domain import levels, points
from ledger.errors import AlreadyEarned
from ledger.transactions import transaction_answer


class LockAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The account's lock after the command."""

    user_id: str
    locked: bool
    reason: str


class ExpiryAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """How many lots were found overdue."""

    user_id: str
    expired_lots: int


class LevelsAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The tier the account has, and how many events it took to get there."""

    user_id: str
    tier: int
    moved: int


def earn_claim(user_id: str, source: str, reference: str) -> ClaimOnce:
    """One earn per (user, source, reference), whoever makes it."""
    return ClaimOnce("earn", f"{user_id}/{source}/{reference}", partial(_already_earned, user_id, source, reference))


def _already_earned(user_id: str, source: str, reference: str) -> AlreadyEarned:
    return AlreadyEarned(f"{source} {reference} was already earned by {user_id}.")


def earn_points(view: View, command: points.EarnPoints, now: datetime) -> Decision:
    """One earn per (user, source, reference)."""
    stream = ids.account_stream(command.user_id)
    events = points.decide_earn(command, view.read(stream), view.read(ids.PROGRAMME_STREAM), now)
    claim = earn_claim(command.user_id, command.source, command.reference)
    return Decision(201, transaction_answer(events), ((stream, events),), (claim,))


def grant_points(view: View, command: points.GrantPoints, now: datetime) -> Decision:
    """An admin gives points."""
    stream = ids.account_stream(command.user_id)
    events = points.decide_grant(command, view.read(stream), view.read(ids.PROGRAMME_STREAM), now)
    return Decision(200, transaction_answer(events), ((stream, events),))


def deduct_points(view: View, command: points.DeductPoints, now: datetime) -> Decision:
    """An admin takes points."""
    stream = ids.account_stream(command.user_id)
    events = points.decide_deduct(command, view.read(stream), now)
    return Decision(200, transaction_answer(events), ((stream, events),))


def spend_points(view: View, command: points.SpendPoints, now: datetime) -> Decision:
    """A member pays with points."""
    stream = ids.account_stream(command.user_id)
    events = points.decide_spend(command, view.read(stream), now)
    return Decision(200, transaction_answer(events), ((stream, events),))


def expire_lots(view: View, command: points.ExpireLots, now: datetime) -> Decision:
    """Record what is overdue on one account."""
    stream = ids.account_stream(command.user_id)
    events = points.decide_expire(command, view.read(stream), now)
    return Decision(200, ExpiryAnswer(command.user_id, len(events)), ((stream, events),))


def lock_account(view: View, command: points.LockAccount, now: datetime) -> Decision:
    """Spending stops. Locking a locked account changes nothing and answers the reason it is locked for."""
    stream = ids.account_stream(command.user_id)
    account = view.read(stream)
    events = points.decide_lock(command, account, now)
    reason = command.reason if events else account.lock_reason
    return Decision(200, LockAnswer(command.user_id, locked=True, reason=reason), ((stream, events),))


def unlock_account(view: View, command: points.UnlockAccount, now: datetime) -> Decision:
    """Spending is allowed again; unlocking twice is the same."""
    stream = ids.account_stream(command.user_id)
    events = points.decide_unlock(command, view.read(stream), now)
    return Decision(200, LockAnswer(command.user_id, locked=False, reason=command.reason), ((stream, events),))


def redecide_levels(view: View, command: levels.RedecideLevels, now: datetime) -> Decision:
    """Put one account on the level that the programme of now gives it."""
    stream = ids.account_stream(command.user_id)
    account = view.read(stream)
    events = levels.decide_levels(command, account, view.read(ids.PROGRAMME_STREAM), now)
    moves = [event for event in events if isinstance(event, points.LevelCrossed | points.LevelLeft)]
    tier = account.tier
    for move in moves:
        tier = move.tier if isinstance(move, points.LevelCrossed) else move.now_tier
    return Decision(200, LevelsAnswer(command.user_id, tier, len(moves)), ((stream, events),))


def relevel_key(programme_version: int, user_id: str) -> str:
    """The key under which a job decides an account's level again: once a version of the programme, however often it
    is started anew. It need not be sent for accounts found on the right level: deciding twice changes nothing.
    """
    return f"relevel-{programme_version}-{user_id}"
