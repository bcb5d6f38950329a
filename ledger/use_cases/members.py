"""Use cases of members: registering, being referred, and the codes they refer others with.

Read next: `../domain/referrals.py` for the rules.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from ledger import ids
from ledger.decision import ClaimOnce, Decision, View
from ledger.domain import points, referrals
from ledger.domain.account import PointsAccount, check_exists
from ledger.errors import ReferralCodesTaken
from ledger.store.port import DirectoryRow

Writes = list[tuple[str, Sequence[msgspec.Struct]]]


class RegisterMember(msgspec.Struct, frozen=True):
    """Open the account if it is not, write name and avatar into the directory, bind the referrer if there is a code."""

    user_id: str
    name: str
    avatar: str | None = None
    referral_code: str | None = None


class MemberAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """No name and no avatar: answers are kept for ever, and a member may ask to be forgotten."""

    user_id: str
    opened: bool


class ReferralCodeAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The member's code, and where it leads."""

    referral_code: str
    link: str


def register_member(view: View, command: RegisterMember, now: datetime) -> Decision:
    """201 for a new member, 200 for a known one, whose name and avatar are updated. A refused code refuses all."""
    stream = ids.account_stream(command.user_id)
    account: PointsAccount = view.read(stream)
    events = points.decide_open(points.OpenAccount(command.user_id), account)
    writes: Writes = [(stream, events)]
    if command.referral_code is not None:
        referrer_id = _owner_of(view, command.referral_code)
        mine, theirs = referrals.decide_bind(
            command.user_id,
            command.referral_code,
            referrer_id,
            account,
            lambda user_id: view.read(ids.account_stream(user_id)),
            now,
        )
        writes = [(stream, [*events, *mine]), (ids.account_stream(referrer_id), theirs)]
    return Decision(
        201 if events else 200,
        MemberAnswer(command.user_id, opened=bool(events)),
        writes,
        directory=DirectoryRow(command.user_id, command.name, command.avatar),
    )


def generate_referral_code(view: View, command: referrals.GenerateReferralCode, now: datetime) -> Decision:
    """The code the member has; a new one if they have none, or want another. No code is given twice, ever."""
    stream = ids.account_stream(command.user_id)
    account: PointsAccount = view.read(stream)
    check_exists(account, command.user_id)
    if account.referral_code and not command.force:
        return Decision(200, _code_answer(command, account.referral_code))
    code = referrals.free_code(command.candidates, lambda candidate: not view.read(ids.code_stream(candidate)).user_id)
    events, of_the_code = referrals.decide_code(command.user_id, code, account, now)
    taken = ClaimOnce(
        "referral_code", code, lambda: ReferralCodesTaken(f"The referral code {code} was taken meanwhile.")
    )
    writes: Writes = [(stream, events), (ids.code_stream(code), of_the_code)]
    return Decision(200, _code_answer(command, code), writes, [taken])


def _code_answer(command: referrals.GenerateReferralCode, code: str) -> ReferralCodeAnswer:
    return ReferralCodeAnswer(code, command.link_prefix + code)


def _owner_of(view: View, code: str) -> str:
    state = view.read(ids.code_stream(code)) if referrals.is_code(code) else referrals.ReferralCode()
    return referrals.owner_of(code, state)
