"""Members: opening an account, and being forgotten. Name and avatar live in the directory, never in an event.

Read next: `../commands.py`.
"""

from typing import Any, Final

import msgspec
from litestar import Request, Response, delete
from litestar.params import FromPath

from api import examples
from api.call import Call, call_of, utc_now
from api.commands import CommandRoute, PathParams
from api.documented import Documented, opened_to
from api.envelope import success
from api.fields import Avatar, Name, ReferralCode, UserId, checked_user_id
from api.queries import Nothing, read_query
from api.security import SERVICE_OR_ADMIN
from ledger.decision import Answer
from ledger.errors import (
    InvalidCommand,
    ReadModelBehind,
    ReferralCycle,
    ReferrerAlreadyBound,
    SelfReferral,
    UnknownReferralCode,
    UserNotFound,
)
from ledger.handler import RegisterMember
from projections.points import get_account
from projections.read_model_list import head_position


class MemberBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Who joins, and on whose recommendation."""

    user_id: UserId
    name: Name
    avatar: Avatar | None = None
    referral_code: ReferralCode | None = None


class MemberAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The member. `opened` says whether the account was opened by this command."""

    user_id: str
    name: str
    avatar: str | None
    opened: bool


class ForgottenAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """`forgotten` is false where the directory held nothing any more."""

    user_id: str
    forgotten: bool


def register_command(body: MemberBody, _params: PathParams, _call: Call) -> RegisterMember:
    return RegisterMember(body.user_id, body.name, body.avatar, body.referral_code)


def member_answer(body: MemberBody, answer: Answer) -> MemberAnswer:
    """Name and avatar come from the request: an answer is kept for ever, and they may have to go."""
    return MemberAnswer(body.user_id, body.name, body.avatar, answer.status == 201)


REGISTER: Final = CommandRoute(
    path="/api/members",
    access=SERVICE_OR_ADMIN,
    decoder=msgspec.json.Decoder(MemberBody),
    build=register_command,
    messages={201: "Member registered.", 200: "Member updated."},
    show=member_answer,
    documented=Documented(
        summary="Register a member",
        description="Opens the account, or updates name and avatar of a known member. A referral code binds the member to "
        "its owner, once; the same owner again changes nothing.",
        tag="members",
        body=MemberBody,
        answer=MemberAnswer,
        answers={201: "A new member.", 200: "A known member, updated."},
        refusals=(InvalidCommand, UnknownReferralCode, SelfReferral, ReferralCycle, ReferrerAlreadyBound),
        body_example=examples.MEMBER,
        answer_example=examples.MEMBER_ANSWER,
    ),
)


@delete(
    "/api/members/{user_id:str}",
    status_code=200,
    opt=opened_to(
        SERVICE_OR_ADMIN,
        Documented(
            summary="Forget a member's name and avatar",
            description="The account and its history stay; they never held the name. A second time is the same.",
            tag="members",
            answer=ForgottenAnswer,
            answers={200: "The directory holds nothing about the member."},
            refusals=(InvalidCommand, UserNotFound, ReadModelBehind),
            answer_example={"userId": "user-42", "forgotten": True},
        ),
    ),
)
async def forget_member(request: Request[Any, Any, Any], user_id: FromPath[str]) -> Response[bytes]:
    """Not an event: what is forgotten must not be in the log."""
    call = call_of(request)
    read_query(call, Nothing)
    forgotten = await call.resources.store.forget_member(checked_user_id(user_id))
    if not forgotten:
        # Nobody of that id at all is 404: asked of a read model that knows of whoever has joined by now.
        head = await head_position(call.resources.pool)
        await get_account(call.resources.models, user_id, utc_now(), min_position=head)
    message = "Name and avatar are forgotten." if forgotten else "There was nothing left to forget."
    return success(call, message, ForgottenAnswer(user_id, forgotten)).as_response()


ROUTES: Final = (REGISTER.handler, forget_member)
