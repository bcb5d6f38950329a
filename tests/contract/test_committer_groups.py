"""Several commands at once: all or none, or each on its own, on both stores."""

import asyncio

import pytest

from ledger.decision import Answer
from ledger.errors import (
    DuplicateBatchKey,
    IdempotencyKeyReused,
    InsufficientPoints,
    UserNotFound,
)
from ledger.handler import Handler
from ledger.store.port import Store
from tests.contract.members import as_json, asked, balances, earn, register, spend


async def test_a_group_happens_in_order_and_in_one_append(store: Store, handler: Handler) -> None:
    await register(handler, "a", "b")
    answers = await handler.handle_all(
        [(earn("a", 10, "r"), asked()), (spend("a", 10), asked()), (earn("b", 10, "r"), asked())]
    )
    assert isinstance(answers, list)
    assert [answer.data.new_balance for answer in answers] == [10, 0, 10]
    assert len({e.recorded_at for e in await store.read(2, 10)}) == 1
    assert await balances(store) == {"a": 0, "b": 10}


async def test_a_group_with_a_refusal_leaves_nothing_and_names_the_first_one(store: Store, handler: Handler) -> None:
    await register(handler, "a")
    refused, _, alone = await asyncio.gather(
        handler.handle_all(
            [(earn("a", 10, "r"), asked("k1")), (spend("a", 11), asked("k2")), (spend("nobody", 1), asked("k3"))]
        ),
        handler.handle(earn("a", 1, "r2"), asked()),
        handler.handle(earn("a", 2, "r"), asked()),
    )
    assert isinstance(refused, tuple)
    assert refused[0] == 1
    assert isinstance(refused[1], InsufficientPoints)
    assert alone.status == 201, "what the group claimed is free"
    assert await balances(store) == {"a": 3}
    assert (await handler.handle(earn("a", 10, "r3"), asked("k1"))).replayed is False


async def test_a_group_with_a_known_key_replays_that_one_and_does_the_others(store: Store, handler: Handler) -> None:
    await register(handler, "a")
    first = await handler.handle(earn("a", 10, "r1"), asked("k1"))
    answers = await handler.handle_all([(earn("a", 10, "r1"), asked("k1")), (spend("a", 4), asked("k2"))])
    assert isinstance(answers, list)
    assert as_json(answers[0]) == as_json(first)
    assert [answer.replayed for answer in answers] == [True, False]
    again = await handler.handle_all([(earn("a", 10, "r1"), asked("k1")), (spend("a", 4), asked("k2"))])
    assert isinstance(again, list)
    assert [as_json(answer) for answer in again] == [as_json(answer) for answer in answers]
    assert await balances(store) == {"a": 6}


async def test_a_group_with_a_key_of_another_request_is_refused_whole(store: Store, handler: Handler) -> None:
    await register(handler, "a")
    await handler.handle(earn("a", 10, "r1"), asked("k1", body="one"))
    refused = await handler.handle_all(
        [(earn("a", 1, "r2"), asked("k2")), (earn("a", 10, "r3"), asked("k1", body="two"))]
    )
    assert isinstance(refused, tuple)
    assert (refused[0], type(refused[1])) == (1, IdempotencyKeyReused)
    assert await balances(store) == {"a": 10}


async def test_a_group_with_a_key_twice_is_refused(handler: Handler) -> None:
    with pytest.raises(DuplicateBatchKey):
        await handler.handle_all([(earn("a", 1, "r"), asked("k")), (earn("a", 1, "r"), asked("k"))])


async def test_a_group_waits_for_an_equal_request_in_flight(store: Store, handler: Handler) -> None:
    await register(handler, "a")
    alone, group = await asyncio.gather(
        handler.handle(earn("a", 5, "r"), asked("k")),
        handler.handle_all([(earn("a", 5, "r"), asked("k")), (earn("a", 6, "r2"), asked("k2"))]),
    )
    assert isinstance(group, list)
    assert as_json(group[0]) == as_json(alone)
    assert await balances(store) == {"a": 11}


async def test_independent_items_of_a_batch_succeed_and_fail_alone(store: Store, handler: Handler) -> None:
    await register(handler, "a")
    await handler.handle(earn("a", 1, "so that the programme is at hand"), asked())
    outcomes = await handler.handle_each(
        [(earn("a", 5, "r"), asked()), (spend("nobody", 1), asked()), (spend("a", 2), asked())]
    )
    assert [type(outcome) for outcome in outcomes] == [Answer, UserNotFound, Answer]
    assert await balances(store) == {"a": 4}
