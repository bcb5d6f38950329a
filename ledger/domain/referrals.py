"""Referrals: codes, stream `code-<CODE>`, and who brought whom, on the accounts of both.

A code belongs to one member for ever; a member may change theirs, and the old one keeps leading to them. Whoever
registers with a code is bound to its owner once; the owner is rewarded when the first purchase after that completes.
Pure: candidates for a new code come from outside. Standard library and msgspec only.
Read next: `../use_cases/members.py`, which binds and rewards.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from ledger.domain.account import PointsAccount, expiries
from ledger.domain.account_events import (
    Event,
    ReferralCodeAssigned,
    ReferralCompleted,
    ReferralSignedUp,
    ReferrerBound,
)
from ledger.domain.lots import MAX_POINTS
from ledger.domain.points import EarnPoints, decide_earn
from ledger.domain.programme import Programme
from ledger.errors import ReferralCodesTaken, ReferralCycle, ReferrerAlreadyBound, SelfReferral, UnknownReferralCode

ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""No I, O, 0 or 1: a code is read aloud and typed."""
CODE_LENGTH: Final = 8
MOST_REFERRERS: Final = 256
"""So many referrers of referrers are asked whether they close a circle. Nobody has come near."""

_CODE: Final = re.compile(f"[{ALPHABET}]{{{CODE_LENGTH}}}")

# ── commands and events ───────────────────────────────────────────────────────────────────────────────────────────


class GenerateReferralCode(msgspec.Struct, frozen=True):
    """Give the member a code if they have none, or another one with `force`: the first candidate nobody has.

    `link_prefix` is what a code is put behind to make a link, as of now.
    """

    user_id: str
    candidates: tuple[str, ...]
    force: bool = False
    link_prefix: str = ""


class CodeCreated(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The code leads to this member, for ever."""

    code: str
    user_id: str
    occurred_at: datetime


TAGS: Final[dict[str, type[msgspec.Struct]]] = {"referral.code-created.v1": CodeCreated}
"""The stored names, frozen for ever."""

# ── state and evolve ──────────────────────────────────────────────────────────────────────────────────────────────


class ReferralCode(msgspec.Struct, frozen=True, rename="camel"):
    """Whose code it is; nobody's while `user_id` is empty."""

    user_id: str = ""


def evolve(_state: ReferralCode, event: CodeCreated) -> ReferralCode:
    """It is the member's."""
    return ReferralCode(event.user_id)


# ── decide ────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_code(text: str) -> bool:
    """Whether it looks like a code at all."""
    return _CODE.fullmatch(text) is not None


def free_code(candidates: Sequence[str], is_free: Callable[[str], bool]) -> str:
    """The first candidate nobody has. Refused: there is none among them."""
    for code in candidates:
        if is_code(code) and is_free(code):
            return code
    raise ReferralCodesTaken(f"None of {len(candidates)} referral codes was free.")


def decide_code(user_id: str, code: str, state: PointsAccount, now: datetime) -> tuple[list[Event], list[CodeCreated]]:
    """The code is the member's from now on: what happens to the account, and to the code."""
    expired = expiries(state, user_id, now)
    return [*expired, ReferralCodeAssigned(user_id, code, now)], [CodeCreated(code, user_id, now)]


def owner_of(code: str, state: ReferralCode) -> str:
    """Whom the code leads to. Refused: nobody."""
    if not state.user_id:
        raise UnknownReferralCode(f"No member has the referral code {code}.")
    return state.user_id


def decide_bind(
    user_id: str,
    code: str,
    referrer_id: str,
    state: PointsAccount,
    account_of: Callable[[str], PointsAccount],
    now: datetime,
) -> tuple[list[Event], list[Event]]:
    """Bind a member to the owner of the code: what happens to the account of the member, and of the referrer.

    The same referrer a second time changes nothing. Refused: their own code, another referrer, a circle.
    """
    if referrer_id == user_id:
        raise SelfReferral(f"The referral code {code} belongs to {user_id}.")
    if state.referrer == referrer_id:
        return [], []
    if state.referrer:
        raise ReferrerAlreadyBound(f"{user_id} was referred by another member already.")
    if state.referrals:
        # Only who has brought somebody can be found above their own referrer.
        _check_no_circle(user_id, referrer_id, account_of)
    referrer = account_of(referrer_id)
    mine: list[Event] = [ReferrerBound(user_id, referrer_id, code, now)]
    theirs: list[Event] = [ReferralSignedUp(referrer_id, user_id, code, now)]
    if state.exists:
        mine = [*expiries(state, user_id, now), *mine]
    return mine, [*expiries(referrer, referrer_id, now), *theirs]


def _check_no_circle(user_id: str, referrer_id: str, account_of: Callable[[str], PointsAccount]) -> None:
    above = referrer_id
    for _ in range(MOST_REFERRERS):
        above = account_of(above).referrer
        if above == user_id:
            raise ReferralCycle(f"{user_id} has brought {referrer_id}, directly or through others.")
        if not above:
            return
    raise ReferralCycle(
        f"More than {MOST_REFERRERS} referrers stand above {referrer_id}: too many to rule out a circle."
    )


def has_pending_referral(state: PointsAccount) -> bool:
    """Whether the member's next purchase to complete is the first since somebody referred them."""
    return bool(state.referrer) and not state.referral_completed


def decide_completed(user_id: str, purchase_id: str, reward: int, state: PointsAccount, now: datetime) -> list[Event]:
    """The referral bore fruit: on the account of the referred member, once."""
    return [ReferralCompleted(user_id, state.referrer, purchase_id, reward, now)]


def decide_reward(
    referred_user: str, referrer_id: str, referrer: PointsAccount, programme: Programme, now: datetime
) -> list[Event]:
    """The referrer's points for it, with their levels; no event under a programme without a reward.

    A referrer who has nearly all the points there can be gets what still fits: a purchase must not fail over them.
    """
    reward = min(programme.referral_reward, MAX_POINTS - referrer.lifetime)
    if not reward:
        return []
    command = EarnPoints(
        referrer_id,
        reward,
        "referral",
        referred_user,
        now,
        description=f"Referral of {referred_user}",
        referred_user=referred_user,
    )
    return decide_earn(command, referrer, programme, now)
