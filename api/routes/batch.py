"""Up to a thousand commands in one request: all or none, or each on its own.

Every item carries its key, in the same space as the header keys of the caller. What makes two items the same is the
canonical JSON of the item (fields in their order, names within metadata sorted, defaults left out) under `POST /api/points/batch`: an item may be
sent again in another batch, in another order, with other blanks. Whether the batch is atomic does not count.
Read next: `points.py` for the single commands.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.types import Receive
from msgspec import UNSET, Meta, UnsetType

from api import examples
from api.bodies import decode_body, read_body
from api.call import Call, call_of, utc_now
from api.commands import LeanRoute
from api.documented import Documented, opened_to
from api.envelope import Reply, failure, success
from api.errors import said_of, status_of
from api.fields import (
    Description,
    Instant,
    Key,
    Metadata,
    Points,
    Reason,
    Reference,
    UserId,
    checked_metadata,
    deadline,
)
from api.fields import optional_instant as optional
from api.idempotency import answer_headers, replay_header
from api.queries import Nothing, read_query
from api.routes.points import EarnBody, earn_command
from api.security import SERVICE_OR_ADMIN
from ledger.decision import Answer, Origin, fingerprint
from ledger.domain.points import DeductPoints, GrantPoints, SpendPoints
from ledger.errors import DuplicateBatchKey, InvalidCommand, LedgerError, RefusedByBalance, Unavailable

PATH: Final = "/api/points/batch"
ITEMS_AT_MOST: Final = 1000


class EarnItem(
    EarnBody, frozen=True, forbid_unknown_fields=True, rename="camel", tag="earn", kw_only=True, omit_defaults=True
):
    """As the single command."""

    key: Key


class SpendItem(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", tag="spend", omit_defaults=True
):
    """Points a member pays with, for something outside of purchases."""

    key: Key
    user_id: UserId
    amount: Points
    reference: Reference
    occurred_at: Instant | None = None
    description: Description = ""
    metadata: Metadata = {}


class GrantItem(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", tag="grant", omit_defaults=True
):
    """Points given by an admin."""

    key: Key
    user_id: UserId
    amount: Points
    reason: Reason
    reference: Reference | None = None
    occurred_at: Instant | None = None
    expires_at: Instant | UnsetType | None = UNSET
    metadata: Metadata = {}


class DeductItem(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", tag="deduct", omit_defaults=True
):
    """Points taken away by an admin."""

    key: Key
    user_id: UserId
    amount: Points
    reason: Reason
    reference: Reference | None = None
    occurred_at: Instant | None = None
    metadata: Metadata = {}


Item = EarnItem | SpendItem | GrantItem | DeductItem


class BatchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The batch as it is documented."""

    atomic: bool
    items: Annotated[list[Item], Meta(min_length=1, max_length=ITEMS_AT_MOST, description="1 to 1000 items")]


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The batch as it is read: items stay bytes, so that one malformed item is that item's error."""

    atomic: bool
    items: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=ITEMS_AT_MOST, description="a list of 1 to 1000")]


class _Keyed(msgspec.Struct, frozen=True):
    """An item of which nothing else is asked."""

    key: Key | None = None


class ItemError(msgspec.Struct, frozen=True, rename="camel"):
    """Why an item was refused: what the single command would have answered."""

    error: str
    message: str
    status_code: int
    data: Any = UNSET


class ItemResult(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The outcome of one item."""

    index: int
    ok: bool
    key: str | UnsetType = UNSET
    data: Any = UNSET
    error: ItemError | UnsetType = UNSET


class BatchAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The outcomes in the order of the items."""

    results: list[ItemResult]


def spend_command(item: SpendItem) -> SpendPoints:
    return SpendPoints(
        item.user_id,
        item.amount,
        item.reference,
        optional("occurredAt", item.occurred_at),
        item.description,
        checked_metadata(item.metadata),
    )


def grant_command(item: GrantItem) -> GrantPoints:
    return GrantPoints(
        item.user_id,
        item.amount,
        item.reason,
        item.reference,
        optional("occurredAt", item.occurred_at),
        deadline(item.expires_at),
        checked_metadata(item.metadata),
    )


def deduct_command(item: DeductItem) -> DeductPoints:
    return DeductPoints(
        item.user_id,
        item.amount,
        item.reason,
        item.reference,
        optional("occurredAt", item.occurred_at),
        checked_metadata(item.metadata),
    )


_COMMAND_OF: Final[Mapping[type, Callable[[Any], Any]]] = {
    EarnItem: earn_command,
    SpendItem: spend_command,
    GrantItem: grant_command,
    DeductItem: deduct_command,
}
_decode_batch: Final = msgspec.json.Decoder(BatchBody)
_decode_envelope: Final = msgspec.json.Decoder(_Envelope)
_decode_item: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(Item)
_decode_keyed: Final = msgspec.json.Decoder(_Keyed)
_canonical: Final = msgspec.json.Encoder(order="deterministic").encode


class _Prepared(msgspec.Struct):
    """An item on its way: a command with its origin, or the refusal it has already met (with its frames: a cycle)."""

    key: str | None
    command: Any
    outcome: Origin | LedgerError


async def perform_batch(call: Call, receive: Receive) -> Reply:
    """Read, decide, answer. An atomic batch that is refused answers as the item that was refused first."""
    raw = await read_body(call, receive)
    if call.query:
        read_query(call, Nothing)
    async with call.resources.batches.turn(len(raw)):
        return await _perform(call, raw)


async def _perform(call: Call, raw: bytes) -> Reply:
    now = utc_now()
    try:
        whole = decode_body(_decode_batch, raw)
    except LedgerError:  # Something is wrong with it: which of the items are, is found one by one.
        batch = decode_body(_decode_envelope, raw)
        atomic, prepared = batch.atomic, [_prepare_raw(call, bytes(item), now) for item in batch.items]
    else:
        atomic, prepared = whole.atomic, [_prepare(call, item, now) for item in whole.items]
    _check_keys(prepared)
    return await (_all_or_none(call, prepared) if atomic else _each(call, prepared))


async def _all_or_none(call: Call, prepared: list[_Prepared]) -> Reply:
    commands = []
    for index, item in enumerate(prepared):
        if isinstance(item.outcome, LedgerError):
            return _refused(call, index, item, item.outcome)
        commands.append((item.command, item.outcome))
    answers = await call.resources.handler.handle_all(commands)
    if isinstance(answers, tuple):
        index, refusal = answers
        return _refused(call, index, prepared[index], refusal)
    return _done(call, prepared, list(answers), "All items done.")


async def _each(call: Call, prepared: list[_Prepared]) -> Reply:
    commands = [
        (item.command, item.outcome) for item in prepared if type(item.outcome) is Origin
    ]  # isinstance on a Struct is slow
    decided = iter(await call.resources.handler.handle_each(commands))
    outcomes = [item.outcome if isinstance(item.outcome, LedgerError) else next(decided) for item in prepared]
    if all(isinstance(outcome, Unavailable) for outcome in outcomes):
        raise next(outcome for outcome in outcomes if isinstance(outcome, Unavailable))
    done = sum(type(outcome) is Answer for outcome in outcomes)
    return _done(call, prepared, outcomes, f"{done} of {len(outcomes)} items done.")


def _prepare_raw(call: Call, raw: bytes, now: datetime) -> _Prepared:
    """Read one item, as the body of the single command would be."""
    try:
        item = decode_body(_decode_item, raw)
    except LedgerError as refusal:
        return _Prepared(_key_of(raw), None, refusal)
    return _prepare(call, item, now)


def _key_of(raw: bytes) -> str | None:
    """The key of an item that is wrong otherwise, if it has one: whoever sent it looks for it under that."""
    try:
        return _decode_keyed.decode(raw).key
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _prepare(call: Call, item: Item, now: datetime) -> _Prepared:
    """Validate one item, as the single command would be."""
    try:
        command = _COMMAND_OF[type(item)](item)
    except LedgerError as refusal:
        return _Prepared(item.key, None, refusal)
    same = fingerprint("POST", PATH, _canonical(item))
    return _Prepared(
        item.key, command, Origin(call.signed_in.actor, now, same, call.request_id, call.correlation_id, item.key)
    )


def _check_keys(prepared: list[_Prepared]) -> None:
    seen: dict[str, int] = {}
    for index, item in enumerate(prepared):
        if item.key is not None and (first := seen.setdefault(item.key, index)) != index:
            message = f"Items {first} and {index} carry the same key {item.key}."
            raise DuplicateBatchKey(message, [{"field": f"items[{index}].key", "message": f"is that of item {first}."}])


def _done(call: Call, prepared: list[_Prepared], outcomes: Sequence[Answer | BaseException], message: str) -> Reply:
    answers = [outcome for outcome in outcomes if type(outcome) is Answer]
    results = [
        _result(call, index, item.key, outcome)
        for index, (item, outcome) in enumerate(zip(prepared, outcomes, strict=True))
    ]
    headers = answer_headers(max(a.position for a in answers), replayed=replay_header(answers)) if answers else []
    return success(call, message, BatchAnswer(results), headers=headers)


def _result(call: Call, index: int, key: str | None, outcome: Answer | BaseException) -> ItemResult:
    if type(outcome) is Answer:  # isinstance on a Struct goes through a Python ABC
        return ItemResult(index, True, key or UNSET, outcome.data)
    assert isinstance(outcome, BaseException), "an outcome is an answer or an error"
    said = said_of(call, outcome)
    data = UNSET if said.data is None else said.data
    error = ItemError(said.code, said.message, status_of(said), data)
    return ItemResult(index, False, key or UNSET, error=error)


def _refused(call: Call, index: int, item: _Prepared, refusal: LedgerError) -> Reply:
    """The error envelope of the item that stopped the batch; `data` says which one it is."""
    if isinstance(refusal, Unavailable):
        raise refusal
    data: dict[str, Any] = {"index": index, "key": item.key}
    if refusal.data is not None:
        data["fields" if isinstance(refusal, InvalidCommand) else "detail"] = refusal.data
    return failure(call, status_of(refusal), refusal.code, f"Item {index}: {refusal.message}", data)


DOCUMENTED: Final = Documented(
    summary="Many commands in one request",
    description="Each item carries its own key. `atomic` true: all or none, and a refusal is that of the first item "
    "refused, its index in `data`. `atomic` false: each on its own, outcomes in order, always 200.",
    tag="points",
    body=BatchBody,
    answer=BatchAnswer,
    answers={200: "The outcomes, in the order of the items."},
    refusals=(InvalidCommand, DuplicateBatchKey, RefusedByBalance),
    body_example=examples.BATCH,
    answer_example=examples.BATCH_ANSWER,
)
LEAN: Final = LeanRoute(PATH, SERVICE_OR_ADMIN, perform_batch)


@post(PATH, opt=opened_to(SERVICE_OR_ADMIN, DOCUMENTED))
async def batch(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The ordinary way to the same function."""
    return (await perform_batch(call_of(request), request.receive)).as_response()


ROUTES: Final = (batch,)
