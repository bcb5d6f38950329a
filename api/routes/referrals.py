"""Referral codes: made for the member who asks, and the short link that one of them is.

Read next: `members.py`, which binds a new member to the owner of a code.
"""

from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath

from api import examples
from api.call import Call, call_of
from api.commands import CommandRoute, PathParams
from api.documented import Documented, opened_to
from api.errors import ReferralCodeNotFound
from api.security import OPEN, SIGNED_IN
from ledger.domain.referrals import GenerateReferralCode
from ledger.errors import InvalidCommand, ReferralCodesTaken, UserNotFound
from ledger.handler import ReferralCodeAnswer
from ledger.new_codes import fresh_codes
from projections.referral_codes import is_given

SIGN_UP: Final = "/auth/jwt/sign-up?ref="


class CodeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`force` asks for another code; the old one keeps leading to the same member."""

    force: bool = False


def code_command(body: CodeBody, _params: PathParams, call: Call) -> GenerateReferralCode:
    """For whoever signed in. The dice are rolled here: the rules roll none."""
    prefix = call.resources.settings.public_url.rstrip("/") + "/r/"
    return GenerateReferralCode(call.signed_in.id, fresh_codes(), body.force, prefix)


GENERATE: Final = CommandRoute(
    path="/api/points/generate-referral-code",
    access=SIGNED_IN,
    key="optional",
    decoder=msgspec.json.Decoder(CodeBody),
    build=code_command,
    messages={200: "Your referral code."},
    documented=Documented(
        summary="The caller's referral code, made if there is none",
        description="With a code and without `force`: the same code, and nothing is recorded. The body may be left away.",
        tag="points",
        body=CodeBody,
        body_required=False,
        answer=ReferralCodeAnswer,
        answers={200: "The code, and the link that leads to signing up with it."},
        refusals=(InvalidCommand, UserNotFound, ReferralCodesTaken),
        body_example=examples.REFERRAL_CODE,
        answer_example=examples.REFERRAL_CODE_ANSWER,
    ),
)


@get(
    "/r/{code:str}",
    opt=opened_to(
        OPEN,
        Documented(
            summary="The short link of a referral code",
            description="Leads to signing up with the code. Codes that were replaced lead there too. Any query is let pass "
            "and not used: whoever shares a link hangs parameters of theirs onto it (`utm_source`, `fbclid`).",
            tag="members",
            answers={302: "To the sign-up page of the shop, the code in `ref`."},
            refusals=(ReferralCodeNotFound,),
            answer_headers=("Location",),
            media_type="",
            enveloped=False,
        ),
    ),
)
async def short_link(request: Request[Any, Any, Any], code: FromPath[str]) -> Response[bytes]:
    """Asks the log: a link that was just made works at once."""
    call = call_of(request)
    if not await is_given(call.resources.pool, code):
        raise ReferralCodeNotFound("No member has this referral code.")
    location = call.resources.settings.frontend_url.rstrip("/") + SIGN_UP + code
    return Response(b"", status_code=302, headers={"location": location}, media_type="text/plain")


ROUTES: Final = (GENERATE.handler, short_link)
