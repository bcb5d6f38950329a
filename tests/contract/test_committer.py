"""Group commit, keys and claims, through the real use cases, on both stores."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from ledger.decision import Answer, ClaimOnce, Decide, Decision
from ledger.domain import points
from ledger.errors import (
    AlreadyEarned,
    Conflict,
    IdempotencyKeyReused,
    InsufficientPoints,
    StaleVersion,
)
from ledger.handler import Handler, RegisterMember
from ledger.ids import account_stream
from ledger.store.codec import encode
from ledger.store.committer import Work
from ledger.store.port import Store
from tests.contract.batches import a_batch, a_command, an_event
from tests.contract.conftest import StartCommitter
from tests.contract.members import NOW, as_json, asked, balances, earn, opens, register, spend, work

# ── group commit ──


async def test_commands_on_one_hot_account_share_appends(store: Store, start_committer: StartCommitter) -> None:
    committer = await start_committer()
    handler = Handler(committer)
    await register(handler, "hot")
    before = committer.flushes
    answers = await asyncio.gather(*(handler.handle(earn("hot", 1, f"r{n}"), asked()) for n in range(200)))
    assert committer.flushes - before <= 3
    assert [answer.data.new_balance for answer in answers] == list(range(1, 201))
    assert await balances(store) == {"hot": 200}


async def test_a_batch_limit_is_kept(start_committer: StartCommitter) -> None:
    committer = await start_committer(batch_limit=10)
    handler = Handler(committer)
    await asyncio.gather(*(handler.handle(RegisterMember(f"u{n}", "N"), asked()) for n in range(100)))
    assert committer.flushes >= 10


async def test_answers_carry_the_position_of_their_last_event(store: Store, handler: Handler) -> None:
    await register(handler, "a")
    answer = await handler.handle(earn("a", 1200, "r"), asked("k"))
    assert [e.type for e in await store.read(1, 10)] == ["points.earned.v1", "points.level-crossed.v1"]
    assert (answer.position, answer.data.transaction.position, answer.data.transaction.id) == (3, 2, "txn_2")
    nothing = await handler.handle(points.ExpireLots("a"), asked())
    assert nothing.position == 3


async def test_the_state_of_one_command_is_seen_by_the_next_of_its_batch(store: Store, handler: Handler) -> None:
    await register(handler, "z")
    await handler.handle(earn("z", 1, "so that the programme is at hand"), asked())
    outcomes = await asyncio.gather(
        handler.handle(RegisterMember("a", "A"), asked()),
        handler.handle(earn("a", 10, "r"), asked()),
        handler.handle(spend("a", 7), asked()),
        handler.handle(spend("a", 4), asked()),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [Answer, Answer, Answer, InsufficientPoints]
    assert await balances(store) == {"a": 3, "z": 1}


async def test_commands_keep_their_order_though_one_of_them_reads_a_stream_not_at_hand(handler: Handler) -> None:
    await register(handler, "a")
    outcomes = await asyncio.gather(
        handler.handle(earn("a", 10, "reads the programme"), asked()),
        handler.handle(spend("a", 7), asked()),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [Answer, Answer]


# ── keys ──

LATER = NOW + timedelta(days=30)
EVERY_KIND = [
    RegisterMember("b", "B"),
    RegisterMember("a", "A again"),
    earn("a", 2000, "crosses-a-level", description="é 🎈", metadata={"n": 1.5, "list": [None, {"x": 10**20}]}),
    points.EarnPoints("a", None, "review", "r", occurred_at=NOW - timedelta(days=1), expires_at=NOW),
    points.GrantPoints("a", 5, "thanks", "ref", expires_at=LATER),
    points.DeductPoints("a", 5, "mistake"),
    points.SpendPoints("a", 5, "order", description="a coffee"),
    points.ExpireLots("a"),
    points.LockAccount("a", "stolen phone"),
    points.UnlockAccount("a", "found it"),
]


@pytest.mark.parametrize("command", EVERY_KIND, ids=lambda c: type(c).__name__)
async def test_a_repeated_request_is_answered_as_the_first_to_the_letter(
    store: Store, start_committer: StartCommitter, command: Any
) -> None:
    handler = Handler(await start_committer())
    await register(handler, "a")
    await handler.handle(earn("a", 100, "before"), asked())
    first = await handler.handle(command, asked("k"))
    head = await store.head()
    await handler.handle(earn("a", 7, "after"), asked())
    again = await handler.handle(command, asked("k", now=LATER))
    elsewhere = await Handler(await start_committer()).handle(command, asked("k"))
    for replay in (again, elsewhere):
        assert as_json(replay) == as_json(first)
        assert (replay.position, replay.replayed) == (first.position, True)
    assert first.replayed is False
    assert await store.head() == head + 1, "repeating appended nothing"


async def test_an_answer_that_an_earlier_version_kept_whole_is_given_again_as_it_was(
    store: Store, handler: Handler
) -> None:
    await register(handler, "a")
    origin = asked("old")
    earned = points.PointsEarned("a", 5, "bonus", "r", NOW, None, 5, 5)
    data = {
        "transaction": {"id": None, "type": "earn", "amount": 5, "balance": 5, "createdAt": None, "position": 0},
        "newBalance": 5,
    }
    event = an_event(account_stream("a"), 2, encode(earned), kind="points.earned.v1")
    kept = a_command("old", event, caller=origin.actor.id, fingerprint=origin.fingerprint, answer=encode((201, data)))
    appended = await store.append(a_batch(kept, known=1))
    again = await handler.handle(earn("a", 5, "r"), origin)
    assert (again.status, again.position, again.replayed) == (201, 2, True)
    assert again.data == {
        "transaction": data["transaction"] | {"id": "txn_2", "createdAt": appended.recorded_at, "position": 2},
        "newBalance": 5,
    }


async def test_equal_requests_in_flight_share_one_outcome(store: Store, handler: Handler) -> None:
    await register(handler, "a")
    answers = await asyncio.gather(*(handler.handle(earn("a", 5, "r"), asked("k")) for _ in range(10)))
    assert len({as_json(answer) for answer in answers}) == 1
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 9
    assert await balances(store) == {"a": 5}


async def test_equal_requests_to_two_processes_at_once_are_done_once(
    store: Store, start_committer: StartCommitter
) -> None:
    handlers = [Handler(await start_committer()) for _ in range(3)]
    await register(handlers[0], "a")
    answers = await asyncio.gather(
        *(h.handle(earn("a", 5, f"r{n}"), asked(f"k{n}")) for n in range(20) for h in handlers)
    )
    assert len({as_json(answer) for answer in answers}) == 20
    assert sum(not answer.replayed for answer in answers) == 20
    assert await balances(store) == {"a": 100}


async def test_a_key_used_with_another_request_is_refused(store: Store, handler: Handler) -> None:
    await register(handler, "a")
    await handler.handle(earn("a", 5, "r1"), asked("k", body="one"))
    with pytest.raises(IdempotencyKeyReused):
        await handler.handle(earn("a", 6, "r2"), asked("k", body="two"))
    in_flight = await asyncio.gather(
        handler.handle(earn("a", 7, "r3"), asked("k2", body="one")),
        handler.handle(earn("a", 8, "r4"), asked("k2", body="two")),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in in_flight] == [Answer, IdempotencyKeyReused]
    assert await balances(store) == {"a": 12}


async def test_what_was_decided_on_top_of_a_refused_request_is_decided_again(store: Store, handler: Handler) -> None:
    await register(handler, "a")
    await handler.handle(earn("a", 5, "r1"), asked("k", body="one"))
    outcomes = await asyncio.gather(
        handler.handle(earn("a", 10, "r2"), asked("k", body="two")),
        handler.handle(spend("a", 10), asked()),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [IdempotencyKeyReused, InsufficientPoints]
    assert await balances(store) == {"a": 5}


async def test_a_key_belongs_to_its_caller(handler: Handler) -> None:
    await register(handler, "a")
    await handler.handle(earn("a", 5, "r1"), asked("k"))
    answer = await handler.handle(earn("a", 5, "r2"), asked("k", caller="another shop"))
    assert answer.replayed is False


async def test_a_refusal_is_not_kept_so_that_its_key_may_succeed_later(handler: Handler) -> None:
    await register(handler, "a")
    for _ in range(2):
        with pytest.raises(InsufficientPoints):
            await handler.handle(spend("a", 5), asked("k"))
    await handler.handle(earn("a", 5, "r"), asked())
    assert (await handler.handle(spend("a", 5), asked("k"))).replayed is False


async def test_another_request_gets_the_key_that_a_refused_one_in_flight_leaves_free(handler: Handler) -> None:
    await register(handler, "a")
    outcomes = await asyncio.gather(
        handler.handle(spend("a", 5), asked("k", body="one")),
        handler.handle(earn("a", 5, "r"), asked("k", body="two")),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [InsufficientPoints, Answer]


async def test_an_expected_version_that_is_not_the_current_one_is_refused(handler: Handler) -> None:
    await register(handler, "a")
    with pytest.raises(StaleVersion, match="at version 1, not 2"):
        await handler.handle(earn("a", 5, "r"), asked(expected_version=2))
    assert (await handler.handle(earn("a", 5, "r"), asked(expected_version=1))).status == 201


# ── claims ──


async def test_of_two_claims_in_one_batch_the_first_is_given(store: Store, handler: Handler) -> None:
    await register(handler, "a")
    outcomes = await asyncio.gather(
        *(handler.handle(earn("a", n, "same"), asked()) for n in (1, 2, 3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [Answer, AlreadyEarned, AlreadyEarned]
    assert await balances(store) == {"a": 1}


async def test_a_claim_given_before_is_refused_in_every_process(start_committer: StartCommitter) -> None:
    await register(one := Handler(await start_committer()), "a")
    await one.handle(earn("a", 1, "same"), asked())
    for handler in (one, Handler(await start_committer())):
        with pytest.raises(AlreadyEarned):
            await handler.handle(earn("a", 1, "same"), asked())


async def test_a_claim_passes_on_where_the_first_to_make_it_is_refused_after_all(
    store: Store, handler: Handler
) -> None:
    await register(handler, "a")
    await handler.handle(earn("a", 1, "r1"), asked("used", body="one"))
    outcomes = await asyncio.gather(
        handler.handle(earn("a", 2, "wanted"), asked("used", body="two")),
        handler.handle(earn("a", 3, "wanted"), asked("free")),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [IdempotencyKeyReused, Answer]
    assert await balances(store) == {"a": 4}


async def test_a_claim_passes_on_between_streams_that_have_nothing_else_in_common(
    store: Store, start_committer: StartCommitter
) -> None:
    committer = await start_committer()

    def claims(user: str) -> Decide:
        refusal = Conflict(f"{user} came second")
        return lambda _: Decision(
            200,
            user,
            [(account_stream(user), [points.AccountOpened(user)])],
            [ClaimOnce("code", "SUMMER", lambda: refusal)],
        )

    await committer.submit(work(opens("z"), "used"))
    outcomes = await asyncio.gather(
        committer.submit(Work(asked("used", body="another request"), claims("a"))),
        committer.submit(work(claims("b"))),
        committer.submit(work(claims("c"))),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [IdempotencyKeyReused, Answer, Conflict]
    assert await balances(store) == {"z": 0, "b": 0}
