"""The programme: read by admins and finance, replaced as a whole by an admin who names the version they have seen.

Read next: `../../../ledger/domain/programme.py` for what it may say.
"""

from typing import Annotated, Any, Final
from zoneinfo import available_timezones

import msgspec
from litestar import Request, Response, get
from msgspec import Meta

from api import examples
from api.call import Call, call_of
from api.commands import CommandRoute, PathParams
from api.documented import Documented, opened_to
from api.envelope import success
from api.queries import Freshness, read_query
from api.reads import wait_for_log
from api.security import ADMIN, ADMIN_OR_FINANCE
from ledger.domain.programme import Level, Programme, ReplaceProgramme
from ledger.errors import InvalidCommand, ReadModelBehind, StaleVersion
from projections.programme import read_programme
from projections.releveling import get_releveling

PATH: Final = "/api/admin/programme"

NO_PLACES: Final = frozenset({"localtime", "Factory"})

Rate = Annotated[str, Meta(description='an unsigned decimal string such as "1.5"', examples=["1"])]


class ProgrammeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The whole programme. No field may be left away: what is not said would be set back without anybody noticing."""

    points_per_unit: Rate
    points_per_credit_unit: int
    expiry_days: int | None
    referral_reward: int
    review_reward: int
    platform_fee_bps: int
    timezone: str
    refund_policy: str
    valuation_currency: str
    levels: tuple[Level, ...]


def replace_command(body: ProgrammeBody) -> ReplaceProgramme:
    """The command. Whether there is such a time zone is asked here: the rules know no files."""
    if not _is_zone(body.timezone):
        raise InvalidCommand.field("timezone", "must be the IANA name of a time zone.")
    return ReplaceProgramme(Programme(**msgspec.structs.asdict(body)))


def _is_zone(name: str) -> bool:
    """A name of the database, spelt as there: a file of a machine's own (`localtime`) is another zone on another one,
    and those under `right/` count leap seconds.
    """
    return name not in NO_PLACES and name in available_timezones()


def _command(body: ProgrammeBody, _params: PathParams, _call: Call) -> ReplaceProgramme:
    return replace_command(body)


@get(
    PATH,
    opt=opened_to(
        ADMIN_OR_FINANCE,
        Documented(
            summary="The programme in force",
            description="Its ETag is what replacing it needs in If-Match; `0` while it is the default. "
            "`meta.releveling` {programmeVersion, state, done, total, moved, startedAt, updatedAt}: after a change, how "
            "many of the accounts have been looked at, and how many of them stood on another level; `state` is waiting, "
            "running or done.",
            tag="admin",
            query=Freshness,
            answer=Programme,
            answers={200: "The programme."},
            refusals=(InvalidCommand, ReadModelBehind),
            answer_headers=("ETag", "Ledger-Position"),
            answer_example=examples.PROGRAMME,
        ),
    ),
)
async def programme(request: Request[Any, Any, Any]) -> Response[bytes]:
    """From the log: whoever has replaced it reads what they wrote."""
    call = call_of(request)
    query = read_query(call, Freshness)
    await wait_for_log(call, query.min_position)
    now = await read_programme(call.resources.pool)
    meta = {"releveling": await get_releveling(call.resources.pool, now.version)}
    later = await read_programme(call.resources.pool)
    # Behind the progress that is told, so that whoever is told `done` may wait for what was done.
    position = later.position if later.version == now.version else now.position
    headers = [(b"ledger-position", b"%d" % position), (b"etag", b'"%d"' % now.version)]
    return success(call, "The programme.", now.programme, headers=headers, meta=meta).as_response()


REPLACE: Final = CommandRoute(
    path=PATH,
    method="PUT",
    access=ADMIN,
    key="optional",
    decoder=msgspec.json.Decoder(ProgrammeBody),
    build=_command,
    messages={200: "Programme replaced."},
    documented=Documented(
        summary="Replace the programme",
        description="All of it, from now on; what was decided under the one before stays. Reads show "
        "changed levels at once. Accounts that reach another level now are moved in the background, up one event a "
        "level and down one event, within some seconds of the change for small ledgers; `meta.releveling` of the GET "
        "says how far that is.",
        tag="admin",
        body=ProgrammeBody,
        needs_version=True,
        answer=Programme,
        answers={200: "The programme."},
        refusals=(InvalidCommand, StaleVersion),
        body_example=examples.PROGRAMME,
        answer_example=examples.PROGRAMME,
    ),
)

ROUTES: Final = (programme, REPLACE.handler)
