"""The projector process watches itself: one that leads and does not move ends, and is started anew."""

import asyncio
import sys
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest

from ledger.handler import Handler, RegisterMember
from ledger.store.append import PostgresStore
from ledger.store.committer import Committer
from projections.catalogue import PROJECTIONS
from projections.follow import Metrics
from projections.runner import Health
from tests.contract.members import asked, register
from workers import projector
from workers.projector import ProjectorStuckError, _until, _watch

LOOKS = 12


class Reader:
    """What the watch sees of a runner; `healths` are what it says of itself, the last one for ever."""

    def __init__(self, *healths: Health | Exception) -> None:
        self.metrics = Metrics()
        self._healths = [*healths]
        self.asked = 0
        self.asked_enough = asyncio.Event()

    async def health(self) -> Health:
        self.asked += 1
        if self.asked == LOOKS:
            self.asked_enough.set()
        said = self._healths.pop(0) if len(self._healths) > 1 else self._healths[0]
        if isinstance(said, Exception):
            raise said
        return said


def health(position: int = 5, *, idle_seconds: float = 99, leading: bool = True) -> Health:
    return Health(100, position, 95, idle_seconds, leading)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(projector, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(projector, "STUCK_SECONDS", 0.03)


async def watch(reader: Reader) -> None:
    """Watch until it has looked often enough, or raises."""
    watching = asyncio.create_task(_watch(reader))
    enough = asyncio.create_task(reader.asked_enough.wait())
    done, _ = await asyncio.wait([watching, enough], return_when=asyncio.FIRST_COMPLETED, timeout=5)
    watching.cancel()
    enough.cancel()
    assert done
    if watching in done:
        watching.result()


async def test_a_leader_that_is_behind_and_does_not_move_is_stuck():
    with pytest.raises(ProjectorStuckError, match="has not moved from 5"):
        await watch(Reader(health()))


@pytest.mark.parametrize(
    "reader",
    [
        Reader(health(leading=False)),
        Reader(health(idle_seconds=0)),
        Reader(*(health(position) for position in range(20))),
        Reader(asyncpg.InterfaceError("away")),
        Reader(health(), health(), health(6), health(6), health(7), health(7), health(8, idle_seconds=0)),
    ],
    ids=["does not lead", "waits for events", "moves", "database away", "moves slowly"],
)
async def test_any_other_is_left_alone(reader):
    await watch(reader)
    assert reader.asked >= LOOKS


async def test_what_one_part_ends_with_ends_the_process():
    async def fails() -> None:
        raise ProjectorStuckError("stuck")

    others: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            others.append("ended")

    with pytest.raises(ProjectorStuckError):
        await _until(asyncio.Event(), asyncio.sleep(0.05), fails(), waits())
    assert others == ["ended"]


async def test_told_to_stop_the_reader_is_left_to_finish_its_page():
    stopping = asyncio.Event()
    finished: list[str] = []

    async def reads() -> None:
        await asyncio.sleep(0.05)
        finished.append("page")

    asyncio.get_running_loop().call_later(0.01, stopping.set)
    await _until(stopping, reads(), asyncio.sleep(60))
    assert finished == []
    await asyncio.sleep(0.1)
    assert finished == ["page"]


class Hole:
    """A way to the database in which what was connected before it was dug is gone without a word; new ones get through."""

    def __init__(self) -> None:
        self.ways: set[asyncio.Task[None]] = set()
        self._dug = 0
        self._connections = 0

    def dig(self) -> None:
        self._dug = self._connections

    @asynccontextmanager
    async def before(self, url: str):
        inside = urlsplit(url)
        server = await asyncio.start_server(
            lambda reader, writer: self._enter(reader, writer, inside.hostname, inside.port), "127.0.0.1"
        )
        async with server:
            yield url.replace(f":{inside.port}/", f":{server.sockets[0].getsockname()[1]}/")
            for way in self.ways:
                way.cancel()
            await asyncio.gather(*self.ways, return_exceptions=True)

    async def _enter(self, reader, writer, host, port) -> None:
        self._connections += 1
        number = self._connections
        there_reader, there = await asyncio.open_connection(host, port)
        for one, other in ((reader, there), (there_reader, writer)):
            self.ways.add(asyncio.create_task(self._pass_on(number, one, other)))

    async def _pass_on(self, number, reader, writer) -> None:
        try:
            while data := await reader.read(65536):
                if number > self._dug:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()


PROJECTOR = """
import asyncio, sys
from workers import projector
projector.WATCH_SECONDS, projector.STUCK_SECONDS = 0.5, 3.0
asyncio.run(projector.run_projector(sys.argv[1], sys.argv[1], ""))
"""


FOLLOWING = """
SELECT count(*) FROM read_models.active JOIN read_models.builds USING (name, build) WHERE position >= $1
"""


@pytest.mark.services
@pytest.mark.slow
async def test_a_projector_whose_connections_have_gone_without_a_word_ends(database_url):
    """A host that is lost, a NAT that forgot: nothing comes, no error either. Its supervisor starts another one."""
    store = await PostgresStore(database_url).open()
    committer = await Committer(store).start()
    await register(Handler(committer), "a")
    hole, logged = Hole(), b""
    async with hole.before(database_url) as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROJECTOR, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        watcher = await asyncpg.connect(database_url)
        for head, user in ((1, "b"), (2, "c")):  # all are built, and then follow
            async with asyncio.timeout(20):
                while await watcher.fetchval(FOLLOWING, head) < len(PROJECTIONS):
                    pass
            await asyncio.sleep(0.5)  # nothing is under way
            if head == 2:
                hole.dig()
            await Handler(committer).handle(RegisterMember(user, "M"), asked())
        try:
            async with asyncio.timeout(30):
                logged, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode != 0
        assert b"ProjectorStuckError: the " in logged  # "database has said nothing", or "reader has not moved"
        await watcher.close()
    await committer.stop()
    await store.close()
