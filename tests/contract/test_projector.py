"""The projector process watches itself: one that leads and does not move ends, and is started anew."""

import asyncio

import asyncpg
import pytest

from projections.follow import Metrics
from projections.runner import Health
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
