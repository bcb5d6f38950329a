"""Live events over a real Socket.IO client: who may listen, to what, in which order, and what survives which failure."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import httpx
import jwt
import pytest
import socketio
from redis.asyncio import Redis

from api import realtime
from ledger.settings import Settings
from projections.live_checkpoint import sent_position
from tests.api.conftest import SECRET, running
from tests.api.live_client import PATIENCE_SECONDS, Listener, following, listening
from workers.embedded_redis import EmbeddedRedis
from workers.processes import free_port

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
async def follower(api, api_database, redis_url):
    async with following(api_database, redis_url) as follower:
        yield follower


def position_of(answer: httpx.Response) -> int:
    """The answer's `Ledger-Position` is that of its last event; an earn that crosses no level has one."""
    return int(answer.headers["Ledger-Position"])


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110  # another process holds it true: there is no event to wait for
            await asyncio.sleep(0.01)


async def _is(condition: bool) -> bool:
    return condition


async def _sent(connection: asyncpg.Connection, position: int) -> bool:
    return await sent_position(connection) >= position


# ── who may connect ───────────────────────────────────────────────────────────────────────────────────────────────────


def _token(secret: str | None = SECRET, algorithm: str = "HS256", **claims) -> str:
    return jwt.encode({"id": "ada", "role": "buyer", "exp": int(time.time()) + 60} | claims, secret, algorithm)


REFUSED = {
    "none": lambda: None,
    "empty": lambda: "",
    "no token": lambda: "a.b.c",
    "not ascii": lambda: "tökén.ü.ü",
    "forged": lambda: _token("another secret, also of more than 32 bytes"),
    "expired": lambda: _token(exp=int(time.time()) - 60),
    "without end": lambda: jwt.encode({"id": "ada", "role": "buyer"}, SECRET, "HS256"),
    "alg none": lambda: _token(None, "none"),
    "of no role": lambda: _token(role="emperor"),
    "of no user": lambda: _token(id=""),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("where", ["auth", "query"])
async def test_a_connection_without_a_valid_token_is_refused(api, what, where):
    token = REFUSED[what]()
    listener = Listener()
    query = f"?token={token}" if where == "query" and token is not None else ""
    with pytest.raises(socketio.exceptions.ConnectionError):
        await listener.connect(api.base_url, token if where == "auth" else None, query=query)
    await listener.client.disconnect()


async def test_a_token_in_the_query_is_not_written_into_the_log(api, caplog):
    caplog.set_level(logging.INFO, logger="uvicorn.error")
    token, listener = api.token("ada", "buyer"), Listener()
    await listener.connect(api.base_url, None, query=f"?token={token}")
    await listener.client.disconnect()
    assert "WebSocket" in caplog.text
    assert token not in caplog.text


async def test_the_room_of_a_purchase_may_be_joined_as_soon_as_it_is_registered(api):
    buyer, seller = await api.member(), await api.member()
    listener = Listener()
    await listener.connect(api.base_url, api.token(seller, "seller"))
    for _ in range(5):
        purchase = api.name("purchase")
        price = {"amount": "5.00", "currency": "USD"}
        body = {"purchaseRequestId": purchase, "buyerId": buyer, "sellerId": seller, "price": price}
        assert (await api.post("/api/purchases", body)).status_code == 201
        assert (await listener.join("request", purchase))["ok"]
    await listener.client.disconnect()


@pytest.mark.parametrize("transports", [("polling",), ("websocket",), ("polling", "websocket")])
async def test_a_token_in_the_query_is_as_good_as_in_auth(api, transports):
    listener = Listener()
    query = f"?token={api.token('ada', 'buyer')}"
    await listener.connect(api.base_url, None, query=query, transports=transports)
    assert await listener.join("user", "ada") == {"ok": True}
    await listener.client.eio.disconnect(abort=True)  # politely, one that polls would wait for its last answer


@pytest.mark.parametrize("around", [" {}", "{}\n", " {} "])
async def test_blanks_around_a_token_are_no_part_of_it(api, around):
    """Pasted from a terminal."""
    async with listening(api.base_url, around.format(api.token("ada", "buyer"))) as page:
        assert await page.join("user", "ada") == {"ok": True}


async def test_a_connection_ends_with_its_token(monkeypatch, start):
    monkeypatch.setattr(realtime, "WATCH_SECONDS", 0.05)
    api = await start()
    async with listening(api.base_url, api.token("ada", "buyer", exp=int(time.time()) + 2)) as listener:
        assert await listener.join("user", "ada") == {"ok": True}
        async with asyncio.timeout(PATIENCE_SECONDS):
            await listener.gone.wait()


async def test_who_connects_and_never_signs_in_is_shown_out(monkeypatch, start):
    monkeypatch.setattr(realtime, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(realtime, "SILENT_SECONDS", 0.2)
    api = await start()
    opened = await api.http.get("/socket.io/?EIO=4&transport=polling")
    sid = opened.text.split('"sid":"')[1].split('"')[0]
    await eventually(lambda: _is(sid not in api.app.realtime._server.environ))
    assert (await api.http.get(f"/socket.io/?EIO=4&transport=polling&sid={sid}")).status_code == 400


async def test_clients_that_poll_do_not_hold_up_the_end(environ, api):
    listener = Listener()
    async with running(Settings.from_env(environ)) as other:
        await listener.connect(other.base_url, other.token("ada", "buyer"), transports=["polling"])
        assert await listener.join("user", "ada") == {"ok": True}
        ending = time.monotonic()
    assert time.monotonic() - ending < 10, "uvicorn's patience is 15 seconds"


async def test_other_origins_than_the_shop_are_refused(api):
    path = "/socket.io/?EIO=4&transport=polling"
    ours = await api.http.get(path, headers={"Origin": "https://shop.example"})
    assert ours.status_code == 200
    assert ours.headers["access-control-allow-origin"] == "https://shop.example"
    other = await api.http.get(path, headers={"Origin": "https://evil.example"})
    assert other.status_code == 400
    assert "access-control-allow-origin" not in other.headers


async def test_processes_that_share_a_port_take_websockets_only(start):
    api = await start(PROCESSES="2")
    assert (await api.http.get("/socket.io/?EIO=4&transport=polling")).status_code == 400
    async with listening(api.base_url, api.token("ada", "buyer")) as listener:
        assert await listener.join("user", "ada") == {"ok": True}


# ── which rooms ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["user", "buyer", "seller"])
@pytest.mark.parametrize(
    ("role", "id_", "error"),
    [
        ("buyer", "ada", None),
        ("seller", "ada", None),
        ("buyer", "bob", "FORBIDDEN"),
        ("service", "bob", "FORBIDDEN"),
        ("finance", "bob", "FORBIDDEN"),
        ("admin", "bob", None),
    ],
)
async def test_a_room_is_for_its_owner_and_for_admins(api, kind, role, id_, error):
    async with listening(api.base_url, api.token("ada", role)) as listener:
        answer = await listener.join(kind, id_)
    assert answer == ({"ok": True} if error is None else {"ok": False, "error": error})


async def test_another_users_events_are_not_heard(api, follower):
    ada, bob = await api.member(), await api.member()
    async with listening(api.base_url, api.token(bob, "buyer")) as listener:
        assert (await listener.join("user", ada))["ok"] is False
        assert await listener.join("user", bob) == {"ok": True}
        await api.earn(ada, 5)
        last = await api.earn(bob, 7)
        await listener.until(position_of(last))
        assert [payload["data"]["userId"] for _, payload in listener.heard] == [bob]


async def test_nobody_joins_the_room_of_a_purchase_that_is_not_there(api):
    for role, error in (("buyer", "FORBIDDEN"), ("admin", "NOT_FOUND")):
        async with listening(api.base_url, api.token("ada", role)) as listener:
            assert await listener.join("request", "p-1") == {"ok": False, "error": error}


@pytest.mark.parametrize(
    ("user", "role", "purchase", "error"),
    [
        ("ada", "buyer", "p-1", None),
        ("bob", "seller", "p-1", None),
        ("eve", "buyer", "p-1", "FORBIDDEN"),
        ("eve", "buyer", "p-2", "FORBIDDEN"),
        ("root", "admin", "p-1", None),
        ("root", "admin", "p-2", "NOT_FOUND"),
    ],
)
async def test_the_room_of_a_purchase_is_for_its_parties_and_admins(api, monkeypatch, user, role, purchase, error):
    async def parties_of(purchase_id: str) -> tuple[str, str] | None:
        return {"p-1": ("ada", "bob")}.get(purchase_id)

    monkeypatch.setattr(api.app.realtime, "_parties_of", parties_of)
    async with listening(api.base_url, api.token(user, role)) as listener:
        answer = await listener.join("request", purchase)
    assert answer == ({"ok": True} if error is None else {"ok": False, "error": error})


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "ada",
        {},
        {"id": ""},
        {"id": 7},
        {"id": "ada\n"},
        {"id": "a" * 65},
        {"id": "ada", "afterPosition": -1},
        {"id": "ada", "afterPosition": "1"},
        {"id": "ada", "afterPosition": 2**63},
        {"id": "ada", "since": 1},
        ({"id": "ada"}, {"id": "ada"}),
    ],
)
async def test_what_cannot_be_right_is_refused(api, payload):
    async with listening(api.base_url, api.token("ada", "buyer")) as listener:
        answer = await listener.client.call("join-user-room", payload)
        assert answer == {"ok": False, "error": "VALIDATION_FAILED"}


async def test_a_connection_joins_a_bounded_number_of_rooms(api):
    async with listening(api.base_url, api.token("root", "admin")) as listener:
        for number in range(realtime.ROOMS_AT_MOST):
            assert await listener.join("user", f"u-{number}") == {"ok": True}
        assert await listener.join("user", "one-more") == {"ok": False, "error": "TOO_MANY_ROOMS"}
        assert await listener.join("user", "u-0") == {"ok": True}


async def test_a_message_that_is_too_large_ends_the_connection(api):
    async with listening(api.base_url, api.token("ada", "buyer")) as listener:
        await listener.client.emit("join-user-room", {"id": "a" * realtime.MESSAGE_BYTES})
        async with asyncio.timeout(PATIENCE_SECONDS):
            await listener.gone.wait()


async def test_a_binary_message_is_not_waited_for(api):
    async with listening(api.base_url, api.token("ada", "buyer")) as listener:
        await listener.client.emit("join-user-room", {"id": b"ada"})
        assert api.app.realtime._server._binary_packet == {}


# ── what is heard ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_earn_is_heard_with_its_position_and_its_line_of_history(api, follower):
    user = await api.member()
    async with listening(api.base_url, api.token(user, "buyer")) as listener:
        assert await listener.join("user", user) == {"ok": True}
        earned = await api.earn(user, 320, description="thank you")
        payload = await listener.until(position_of(earned))
    assert set(payload) == {"position", "occurredAt", "data"}
    listed = await api.get("/api/points/transactions", user, "buyer", minPosition=payload["position"])
    line = listed.json()["data"]["transactions"][0]
    assert payload["occurredAt"] == line["occurredAt"]
    assert payload["data"] == {"userId": user, "balance": 320, "lifetimePoints": 320, "transaction": line}


async def test_levels_are_heard_one_by_one_after_the_points_that_crossed_them(api, follower):
    user = await api.member()
    async with listening(api.base_url, api.token(user, "buyer")) as listener:
        await listener.join("user", user)
        last = position_of(await api.earn(user, 12_000))
        await listener.until(last, "level-up")
        names = [(name, payload["data"].get("level", {}).get("name")) for name, payload in listener.heard]
        assert names == [
            ("points-updated", None),
            ("level-up", "silver"),
            ("level-up", "gold"),
            ("level-up", "platinum"),
        ]
        assert listener.positions == [last - 3, last - 2, last - 1, last]


async def test_events_of_a_room_come_in_order_and_once(api, follower):
    user = await api.member()
    async with listening(api.base_url, api.token(user, "buyer")) as listener:
        await listener.join("user", user)
        answers = await asyncio.gather(*(api.earn(user, 1) for _ in range(60)))
        positions = sorted(position_of(answer) for answer in answers)
        await listener.until(positions[-1])
        assert listener.positions == positions


async def test_what_came_after_a_position_is_sent_again_first(api, follower):
    user = await api.member()
    positions = [position_of(await api.earn(user, 1)) for _ in range(5)]
    async with listening(api.base_url, api.token(user, "buyer")) as first:
        await first.join("user", user, after=0)
        await first.until(positions[-1])
    async with listening(api.base_url, api.token(user, "buyer")) as listener:
        # All five were sent before; the answer comes after what is sent again.
        assert await listener.join("user", user, after=positions[1]) == {"ok": True}
        assert listener.positions == positions[2:]
        later = position_of(await api.earn(user, 1))
        await listener.until(later)
        assert listener.positions == [*positions[2:], later]


async def test_joining_while_events_come_leaves_no_gap(api, follower):
    user = await api.member()

    async def earn() -> list[int]:
        return [position_of(await api.earn(user, 1)) for _ in range(150)]

    earning = asyncio.create_task(earn())
    listeners = []
    while not earning.done():
        listener = Listener()
        await listener.connect(api.base_url, api.token(user, "buyer"))
        assert await listener.join("user", user, after=0) == {"ok": True}
        listeners.append(listener)
    positions = await earning
    for listener in listeners:
        await listener.until(positions[-1])
        dropped = [p for i, p in enumerate(listener.positions) if p > max(listener.positions[:i], default=0)]
        assert dropped == positions, "as a client hears it that drops repeats by position"
        await listener.client.disconnect()
    assert len(listeners) > 3


async def test_too_much_to_be_sent_again_is_refused(api, follower, monkeypatch):
    monkeypatch.setattr(realtime, "REPLAY_AT_MOST", 3)
    user = await api.member()
    positions = [position_of(await api.earn(user, 1)) for _ in range(4)]
    async with listening(api.base_url, api.token(user, "buyer")) as listener:
        await listener.join("user", user)
        await listener.until(position_of(await api.earn(user, 1)))
        assert await listener.join("user", user, after=0) == {"ok": False, "error": "REPLAY_TOO_LONG"}
        assert await listener.join("user", user, after=positions[1]) == {"ok": True}


# ── what survives ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def other_process(api, environ, tmp_path):
    """The base URL of another API process on the same database and Redis."""
    port = free_port()
    variables = {**os.environ, **environ, "PORT": str(port), "LEDGER_DATA": str(tmp_path), "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "api.cli", "serve", env=variables, cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient() as http, asyncio.timeout(30):
        while True:
            try:
                await http.get(f"{url}/health")
                break
            except httpx.TransportError:
                assert process.returncode is None
                await asyncio.sleep(0.05)
    yield url
    process.terminate()
    await process.wait()


async def test_a_client_of_either_process_hears_an_event_once(api, other_process, follower):
    user = await api.member()
    token = api.token(user, "buyer")
    async with listening(api.base_url, token) as here, listening(other_process, token) as there:
        for listener in (here, there):
            assert await listener.join("user", user) == {"ok": True}
        first = position_of(await api.earn(user, 1))
        async with httpx.AsyncClient(base_url=other_process) as http:
            body = {"userId": user, "amount": 1, "source": "bonus", "reference": api.name("ref")}
            headers = api.bearer() | {"Idempotency-Key": api.name("key")}
            second = position_of(await http.post("/api/points/earn", json=body, headers=headers))
        for listener in (here, there):
            await listener.until(second)
            assert listener.positions == [first, second]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_event_arrives_when_the_follower_was_killed_around_sending_it(api, api_database, redis_url, moment):
    user = await api.member()
    async with listening(api.base_url, api.token(user, "buyer")) as listener:
        assert await listener.join("user", user) == {"ok": True}
        async with following(api_database, redis_url):
            await listener.until(position_of(await api.earn(user, 1)))
        position = position_of(await api.earn(user, 2))  # committed; nobody sends it
        program = [sys.executable, str(ROOT / "tests/api/killed_follower.py"), api_database, redis_url, moment]
        process = await asyncio.create_subprocess_exec(*program, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT)
        assert await process.wait() == -signal.SIGKILL
        connection = await asyncpg.connect(api_database)
        assert await sent_position(connection) < position
        await connection.close()
        if moment == "after":
            await listener.until(position)
        else:
            assert position not in listener.positions
        async with following(api_database, redis_url):
            await listener.until(position)
            last = position_of(await api.earn(user, 3))
            await listener.until(last)
        assert listener.positions == sorted(set(listener.positions))
        assert listener.positions[-2:] == [position, last]


async def test_nothing_is_lost_when_redis_is_restarted(environ, api, api_database, tmp_path, monkeypatch):
    monkeypatch.setattr(realtime, "WATCH_SECONDS", 600)  # the subscription alone has to notice
    redis = EmbeddedRedis(tmp_path, "a-password")
    redis.start()
    redis_url = f"redis://:a-password@127.0.0.1:{redis.port}/0"
    settings = Settings.from_env(environ | {"REDIS_URL": redis_url})
    try:
        async with running(settings) as one, running(settings) as two, following(api_database, redis_url):
            user = await one.member()
            token = one.token(user, "buyer")
            async with listening(one.base_url, token) as here, listening(two.base_url, token) as there:
                for listener in (here, there):
                    assert await listener.join("user", user) == {"ok": True}
                positions = [position_of(await one.earn(user, 1))]
                await asyncio.gather(here.until(positions[0]), there.until(positions[0]))
                redis.stop()
                # The API goes on, over HTTP and for new connections.
                positions += [position_of(await one.earn(user, 1)) for _ in range(3)]
                async with listening(one.base_url, token) as newcomer:
                    assert await newcomer.join("user", user, after=0) == {"ok": True}
                    redis.start(redis.port)
                    positions.append(position_of(await two.earn(user, 1)))
                    for listener in (here, there, newcomer):
                        await listener.until(positions[-1])
                        assert listener.positions == positions
    finally:
        redis.stop()


class Nowhere:
    """A Redis that takes pages and brings none."""

    async def publish(self, channel: str, body: bytes) -> None:
        pass


async def test_what_redis_does_not_bring_is_read_from_the_log(monkeypatch, start, api_database, redis_url):
    monkeypatch.setattr(realtime, "WATCH_SECONDS", 0.1)
    api = await start()
    user = await api.member()
    async with listening(api.base_url, api.token(user, "buyer")) as listener:
        assert await listener.join("user", user) == {"ok": True}
        async with following(api_database, redis_url, Nowhere()):
            lost = position_of(await api.earn(user, 1))
            await listener.until(lost)
        async with following(api_database, redis_url):
            brought = position_of(await api.earn(user, 1))
            await listener.until(brought)
        assert listener.positions == [lost, brought]


async def test_a_gap_between_pages_is_filled_before_the_next_is_told(api, api_database, redis_url):
    user = await api.member()
    async with listening(api.base_url, api.token(user, "buyer")) as listener:
        assert await listener.join("user", user) == {"ok": True}
        async with following(api_database, redis_url) as follower:
            await listener.until(position_of(await api.earn(user, 1)))
            follower._publisher, brings = Nowhere(), follower._publisher
            lost = position_of(await api.earn(user, 1))
            connection = await asyncpg.connect(api_database)
            await eventually(lambda: _sent(connection, lost))
            await connection.close()
            follower._publisher = brings
            brought = position_of(await api.earn(user, 1))
            await listener.until(brought)
        assert listener.positions[-2:] == [lost, brought]


async def test_what_others_say_on_the_channel_disturbs_nobody(api, redis_url, follower):
    redis = Redis.from_url(redis_url)
    for body in (b"", b"{", b"[]", b'{"method":"page"}', b'{"method":"nothing"}', b'{"method":"emit"}', b"\xff"):
        await redis.publish(api.app.realtime._pages.channel, body)
    await redis.aclose()
    user = await api.member()
    async with listening(api.base_url, api.token(user, "buyer")) as listener:
        assert await listener.join("user", user) == {"ok": True}
        await listener.until(position_of(await api.earn(user, 1)))
