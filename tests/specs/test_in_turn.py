"""Large pieces of work, in turn: how much at once, in which order, and what becomes of those who give up."""

import asyncio

import pytest

from api.in_turn import InTurn
from ledger.errors import Overloaded


class Crowd:
    """Pieces that hold their turn until they are told to leave."""

    def __init__(self, at_once: int = 100, waiting_at_most: int = 1000) -> None:
        self.in_turn = InTurn(at_once, waiting_at_most)
        self.inside: list[str] = []
        self.leave = {name: asyncio.Event() for name in "abcdef"}

    async def come(self, name: str, size: int) -> None:
        async with self.in_turn.turn(size):
            self.inside.append(name)
            try:
                await self.leave[name].wait()
            finally:
                self.inside.remove(name)

    async def starts(self, name: str, size: int) -> "asyncio.Task[None]":
        task = asyncio.create_task(self.come(name, size))
        await settle()
        return task

    async def goes(self, name: str) -> None:
        self.leave[name].set()
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_as_many_as_fit_are_let_in_and_the_next_when_there_is_room():
    crowd = Crowd()
    for name in "abc":
        await crowd.starts(name, 50)
    assert crowd.inside == ["a", "b"]
    await crowd.goes("a")
    assert crowd.inside == ["b", "c"]


async def test_nobody_overtakes_one_that_waits_though_there_is_room_for_them():
    crowd = Crowd()
    await crowd.starts("a", 60)
    await crowd.starts("b", 60)
    await crowd.starts("c", 10)
    assert crowd.inside == ["a"]
    await crowd.goes("a")
    assert crowd.inside == ["b", "c"]


async def test_one_larger_than_all_that_is_let_in_at_once_comes_alone():
    crowd = Crowd()
    await crowd.starts("a", 10)
    await crowd.starts("b", 500)
    await crowd.starts("c", 10)
    assert crowd.inside == ["a"]
    await crowd.goes("a")
    assert crowd.inside == ["b"]
    await crowd.goes("b")
    assert crowd.inside == ["c"]


async def test_too_many_who_wait_are_refused():
    crowd = Crowd(waiting_at_most=100)
    for name in "ab":
        await crowd.starts(name, 100)
    refused = await crowd.starts("c", 1)
    with pytest.raises(Overloaded):
        await refused


@pytest.mark.parametrize("steps", range(4))
async def test_who_gives_up_while_waiting_or_when_just_let_in_leaves_no_hole(steps):
    crowd = Crowd()
    await crowd.starts("a", 100)
    waiting = [await crowd.starts(name, 100) for name in "bcd"]
    waiting[1].cancel()  # c waits
    await settle()
    crowd.leave["a"].set()
    for _ in range(steps):
        await asyncio.sleep(0)
    waiting[0].cancel()  # b has its turn, or is just getting it
    await settle()
    assert crowd.inside == ["d"]
    await crowd.goes("d")
    assert crowd.inside == []
    await crowd.starts("e", 100)
    assert crowd.inside == ["e"], "all room is given back"


async def test_who_has_waited_long_enough_is_refused_and_leaves_no_hole(monkeypatch):
    monkeypatch.setattr("api.in_turn.PATIENCE_SECONDS", 0.05)
    crowd = Crowd(waiting_at_most=100)
    await crowd.starts("a", 100)
    with pytest.raises(Overloaded, match="within"):
        await crowd.come("b", 100)
    again = await crowd.starts("c", 100)
    assert not again.done(), "there is room to wait again"
    await crowd.goes("a")
    assert crowd.inside == ["c"]


async def test_one_that_fails_gives_its_room_back():
    in_turn = InTurn(10, 10)
    with pytest.raises(ZeroDivisionError):
        async with in_turn.turn(10):
            1 / 0  # noqa: B018  # it fails
    async with asyncio.timeout(1), in_turn.turn(10):
        pass
