"""Socket.IO: who may connect, which rooms they may join, and what they are sent again.

    uvicorn → LedgerApi → Realtime (before the gate: Socket.IO answers for itself) → rooms ← LivePages ← Redis, log

Clients only join rooms; everything else they do over HTTP. socketio, msgspec. Read next: `live_pages.py`, and
`../projections/live_events.py` for what is sent.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic, time
from typing import Annotated, Any, Final
from urllib.parse import parse_qs

import asyncpg
import jwt
import msgspec
import socketio
import structlog
from socketio.exceptions import ConnectionRefusedError as Refused
from socketio.packet import Packet

from api.call import Caller
from api.errors import Forbidden, ReplayTooLong, TooManyRooms, Unauthorized
from api.live_pages import NAMESPACE, LivePages
from api.security import Tokens
from ledger.away import is_away
from ledger.errors import InvalidCommand, LedgerError, NotFound, StoreUnavailable
from ledger.ids import is_id
from ledger.settings import Settings
from projections.live_checkpoint import stream_events_after
from projections.live_events import STREAM_OF_ROOM, messages_of
from projections.projection import LogEvent
from projections.read_models import ReadModels
from projections.room_events import events_of_room

PATH: Final = "/socket.io"
MESSAGE_BYTES: Final = 16_384
"""Largest message a client may send: a token of 8 KiB and some."""
ROOMS_AT_MOST: Final = 50
REPLAY_AT_MOST: Final = 1_000
"""Events of one room that are sent again; who missed more reads the lists over HTTP."""
HASTY_ROUNDS: Final = 5
WATCH_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 20.0
"""A connection that has not signed in for so long is closed."""

OWN_ROOMS: Final = ("user", "buyer", "seller")

PartiesOf = Callable[[str], Awaitable[tuple[str, str] | None]]
"""Buyer and seller of a purchase; None if there is no such purchase."""

log = structlog.get_logger(__name__)


class _TextPacket(Packet):  # type: ignore[misc]  # untyped there
    """Refuses attachments: nothing here is binary, and a client could announce ten thousand million of them."""

    def decode(self, encoded_packet: Any) -> int:
        if super().decode(encoded_packet):
            raise ValueError("no binary messages here")
        return 0


class Join(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What a client sends to join a room. With `after_position`, what came later is sent again first."""

    id: str
    after_position: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None


class _Guest(msgspec.Struct):
    """One connection. `until`: the token's `exp`."""

    caller: Caller
    until: float
    rooms: set[str]


class Realtime:
    """The Socket.IO server of one process."""

    def __init__(self, settings: Settings, tokens: Tokens, parties_of: PartiesOf) -> None:
        """`parties_of` tells who may join the room of a purchase."""
        if settings.redis_url is None:
            raise ValueError("REDIS_URL must be known by now: the embedded Redis is started before the API.")
        self._tokens = tokens
        self._parties_of = parties_of
        self._pages = LivePages(settings.redis_url)
        self._guests: dict[str, _Guest] = {}
        self._silent: dict[str, float] = {}
        self._server = socketio.AsyncServer(
            async_mode="asgi",
            client_manager=self._pages,
            cors_allowed_origins=[settings.frontend_origin],
            max_http_buffer_size=MESSAGE_BYTES,
            serializer=_TextPacket,
            # Long polling needs every request of a client at the same process, which a shared port cannot promise.
            transports=["polling", "websocket"] if settings.processes == 1 else ["websocket"],
            async_handlers=False,  # one message of a client at a time: no flood of look-ups, answers in order
            logger=_quiet("socketio.server"),
            engineio_logger=_quiet("engineio.server"),
        )
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._leave)
        for kind in (*OWN_ROOMS, "request"):
            self._server.on(f"join-{kind}-room", self._join(kind))

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a request for that path is ours."""
        return path == PATH or path.startswith(PATH + "/")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """A request or a WebSocket of Socket.IO."""
        await self._server.handle_request(scope, receive, send)

    @asynccontextmanager
    async def running(self, pool: "asyncpg.Pool[Any]") -> AsyncIterator[None]:
        """Hear and tell until the block ends."""
        self._server.manager_initialized = True  # by `start`, and not by the first client
        await self._pages.start(pool)
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            await self._pages.stop()
            await self.close_all()
            await self._server.shutdown()

    async def close_all(self) -> None:
        """Say good-bye to every client."""
        for eio_sid in [*self._server.eio.sockets]:
            await self._close(eio_sid)

    # ── who may connect ───────────────────────────────────────────────────────────────────────────────────────────

    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any) -> None:
        try:
            token = _token_of(environ, auth)
            authorization = b"Bearer " + token.encode("utf-8", "replace")
            caller = self._tokens.remembered(authorization) or await self._tokens.caller_of(authorization)
        except LedgerError as refusal:
            raise Refused(refusal.message, {"error": refusal.code}) from None
        # Verified above, so that the claim can be believed.
        until = float(jwt.decode(token, options={"verify_signature": False})["exp"])
        self._guests[sid] = _Guest(caller, until, set())

    async def _leave(self, sid: str, _reason: str) -> None:
        self._guests.pop(sid, None)

    async def _watch(self) -> None:
        """Keep up with the log whatever Redis does, and close what should not stay open."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self._pages.keep_up()
                await self._see_off()
            except Exception as error:
                log.warning("live events were not looked after", error=repr(error))

    async def _see_off(self) -> None:
        """Close connections whose token has expired, and those that never showed one."""
        for sid, guest in [*self._guests.items()]:
            if guest.until <= time():
                await self._server.disconnect(sid, ignore_queue=True)
        now = monotonic()
        signed_in = {eio_sid for _, eio_sid in self._pages.get_participants(NAMESPACE, None)}
        self._silent = {
            eio_sid: self._silent.get(eio_sid, now) for eio_sid in self._server.environ if eio_sid not in signed_in
        }
        for eio_sid, since in self._silent.items():
            if now - since > SILENT_SECONDS:
                await self._close(eio_sid)

    async def _close(self, eio_sid: str) -> None:
        """Close a connection without the wait of Socket.IO's own way: a client that has left reads nothing any more."""
        connection = self._server.eio.sockets.pop(eio_sid, None)
        if connection is not None:
            await connection.close(wait=False, reason=self._server.reason.SERVER_DISCONNECT)
            await connection.queue.put(None)  # ends its writer

    # ── which rooms they may join ─────────────────────────────────────────────────────────────────────────────────

    def _join(self, kind: str) -> Callable[..., Awaitable[dict[str, Any]]]:
        """The handler of `join-<kind>-room`; what it answers is the acknowledgement."""

        async def join(sid: str, *given: Any) -> dict[str, Any]:
            try:
                await self._enter(kind, sid, _join_of(given))
            except LedgerError as refusal:
                return {"ok": False, "error": refusal.code}
            except Exception as error:
                if is_away(error):
                    log.warning("database away", error=repr(error))
                    return {"ok": False, "error": StoreUnavailable.code}
                log.exception("a room was not joined", kind=kind)
                return {"ok": False, "error": "INTERNAL_ERROR"}
            return {"ok": True}

        return join

    async def _enter(self, kind: str, sid: str, join: Join) -> None:
        guest = self._guests.get(sid)
        if guest is None:
            raise Unauthorized("The connection is closed.")
        await self._authorize(kind, join.id, guest.caller)
        room = f"{kind}-{join.id}"
        if room not in guest.rooms and len(guest.rooms) >= ROOMS_AT_MOST:
            raise TooManyRooms(f"A connection may join {ROOMS_AT_MOST} rooms.")
        if join.after_position is None:
            await self._let_in(sid, room)
        else:
            await self._catch_up(sid, kind, join.id, join.after_position)

    async def _authorize(self, kind: str, id_: str, caller: Caller) -> None:
        if kind in OWN_ROOMS:
            if caller.role != "admin" and caller.id != id_:
                raise Forbidden("Only your own room, or any as an admin.")
            return
        parties = await self._parties_of(id_)
        if parties is None and caller.role == "admin":
            raise NotFound(f"There is no purchase {id_}.")
        # The same refusal for a purchase of others and for none: who may not see it does not learn whether it exists.
        if caller.role != "admin" and caller.id not in (parties or ()):
            raise Forbidden("Only the buyer and the seller of the purchase, and admins.")

    async def _let_in(self, sid: str, room: str) -> None:
        guest = self._guests.get(sid)
        if guest is not None:  # else it hung up meanwhile
            await self._server.enter_room(sid, room)
            guest.rooms.add(room)

    async def _catch_up(self, sid: str, kind: str, id_: str, after: int) -> None:
        """Send what came after that position again, then let in, with nothing between.

        While it is read the log goes on. A few times that is read too; then the others are held back for a moment.
        """
        room = f"{kind}-{id_}"
        for _ in range(HASTY_ROUNDS):
            up_to = self._pages.seen
            await self._send_again(sid, kind, id_, after, up_to)
            if self._pages.seen == up_to:
                await self._let_in(sid, room)  # without a pause in between: the client is of this process
                return
            after = max(after, up_to)
        async with self._pages.held_back():
            await self._send_again(sid, kind, id_, after, self._pages.seen)
            await self._let_in(sid, room)

    async def _send_again(self, sid: str, kind: str, id_: str, after: int, up_to: int) -> None:
        if after >= up_to:
            return
        room = f"{kind}-{id_}"
        for event in await self._missed(kind, id_, after, up_to):
            for message in messages_of(event):
                if room in message.rooms:
                    await self._server.emit(message.event, message.payload, to=sid, ignore_queue=True)

    async def _missed(self, kind: str, id_: str, after: int, up_to: int) -> list[LogEvent]:
        """What was told to the room in (after, up_to]: of the one stream that feeds it, or of many."""
        pool = self._pages.pool
        if kind in STREAM_OF_ROOM:
            page = await stream_events_after(pool, STREAM_OF_ROOM[kind](id_), after, up_to, REPLAY_AT_MOST)
            missed = None if page is None else page.events
        else:
            missed = await events_of_room(ReadModels(pool), kind, id_, after, up_to, REPLAY_AT_MOST)
        if missed is None:
            raise ReplayTooLong(f"More than {REPLAY_AT_MOST} events came after position {after}; read the lists.")
        return missed


def _token_of(environ: dict[str, Any], auth: Any) -> str:
    """`auth.token`, else the query parameter `token`."""
    token = auth.get("token") if isinstance(auth, dict) else None
    if token is None:
        token = parse_qs(environ.get("QUERY_STRING", "")).get("token", [None])[0]
    if not isinstance(token, str) or not token.strip():
        raise Unauthorized("This needs a token: auth.token, or the query parameter token.")
    return token.strip()


def _join_of(given: tuple[Any, ...]) -> Join:
    try:
        join = msgspec.convert(given[0] if len(given) == 1 else None, Join)
    except msgspec.ValidationError as error:
        raise InvalidCommand(str(error)) from None
    if not is_id(join.id):
        raise InvalidCommand.field("id", "must be 1-64 of A-Z a-z 0-9 _ . : -.")
    return join


def _quiet(name: str) -> logging.Logger:
    """Their information is every packet, tokens included; warnings are ours to know."""
    logger = logging.getLogger(name)
    logger.setLevel(logging.WARNING)
    return logger
