"""What cannot be done, and what it does to others: rejected content, bugs, a log that is not whole."""

import asyncio
from typing import Any

import pytest

from ledger.decision import Answer, Decision, View
from ledger.domain import points
from ledger.errors import CorruptionError, StoreUnavailable
from ledger.handler import Handler, RegisterMember
from ledger.ids import account_stream
from ledger.store.committer import Work
from ledger.store.port import AmbiguousAppendError, NewEvent, RejectedAppendError, Store, StoreRewoundError
from tests.contract.batches import a_batch, a_command, an_event
from tests.contract.conftest import OpenStore, StartCommitter
from tests.contract.members import account_opened_at, asked, balances, earn, opens, spend, work
from tests.contract.weather import Between


async def test_content_the_database_rejects_is_found_and_fails_alone(
    store: Store, start_committer: StartCommitter
) -> None:
    committer = await start_committer()
    handler = Handler(committer)
    names = ["fine"] * 20
    names[7] = names[13] = "a nul \0 inside"
    outcomes = await asyncio.gather(
        *(handler.handle(RegisterMember(f"u{n}", name), asked()) for n, name in enumerate(names)),
        return_exceptions=True,
    )
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, RejectedAppendError)] == [7, 13]
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 18
    assert committer.broken is None
    assert await store.head() == 18


async def test_content_the_database_rejects_fails_alone_also_where_its_first_answer_was_lost(
    open_store: OpenStore, start_committer: StartCommitter
) -> None:
    class LosesOne(Between):
        lost = False

        async def before(self) -> None:
            if not self.lost:
                self.lost = True
                raise AmbiguousAppendError

    committer = await start_committer(LosesOne(await open_store()))
    handler = Handler(committer)
    names = ["fine", "fine", "a nul \0 inside", "fine"]
    outcomes = await asyncio.gather(
        *(handler.handle(RegisterMember(f"u{n}", name), asked()) for n, name in enumerate(names)),
        return_exceptions=True,
    )
    assert committer.resent == 1
    assert [type(outcome) for outcome in outcomes] == [Answer, Answer, RejectedAppendError, Answer]
    assert committer.broken is None


async def test_a_stream_whose_name_the_database_rejects_fails_its_command_alone(
    store: Store, start_committer: StartCommitter
) -> None:
    committer = await start_committer()
    handler = Handler(committer)
    outcomes = await asyncio.gather(
        *(handler.handle(RegisterMember(user, "N"), asked()) for user in ("a", "nul \0", "b")), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [Answer, RejectedAppendError, Answer]
    assert committer.broken is None
    assert await store.head() == 2


async def test_a_group_with_rejected_content_leaves_nothing_of_it(store: Store, handler: Handler) -> None:
    group = [(RegisterMember("a", "fine"), asked()), (RegisterMember("b", "nul \0"), asked())]
    with pytest.raises(RejectedAppendError):
        await handler.handle_all(group)
    assert await store.head() == 0


async def test_a_bug_in_one_decision_fails_it_alone(store: Store, start_committer: StartCommitter) -> None:
    committer = await start_committer()

    def buggy(view: View) -> Decision:
        view.read(account_stream("a"))
        raise ValueError("a bug")

    outcomes = await asyncio.gather(
        committer.submit(work(opens("a"))),
        committer.submit(work(buggy)),
        committer.submit(work(opens("b"))),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [Answer, ValueError, Answer]
    assert committer.broken is None
    assert await store.head() == 2


async def test_a_decision_that_ends_early_is_a_bug_like_any_other(
    store: Store, start_committer: StartCommitter
) -> None:
    committer = await start_committer()

    def buggy(_: View) -> Decision:
        return next(iter(()))  # StopIteration, which no future takes

    outcomes = await asyncio.gather(
        committer.submit(work(opens("a"))), committer.submit(work(buggy)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [Answer, RuntimeError]
    assert committer.broken is None


async def test_a_group_of_nothing_is_nothing(store: Store, start_committer: StartCommitter) -> None:
    committer = await start_committer()
    assert await committer.submit_group([]) == []
    await committer.submit(work(opens("a")))
    assert await store.head() == 1


async def test_a_bug_in_one_request_is_no_answer_to_another_under_its_key(start_committer: StartCommitter) -> None:
    committer = await start_committer()

    def buggy(_: View) -> Decision:
        raise ValueError("a bug")

    other = Work(asked("k", body="another request"), opens("a"))
    outcomes = await asyncio.gather(committer.submit(work(buggy, "k")), committer.submit(other), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError, Answer]


UNSPEAKABLE = [
    pytest.param(points.AccountOpened("half a letter \ud800"), id="that cannot be encoded"),
    pytest.param(points.OpenAccount("a command"), id="of an unknown class"),
]


@pytest.mark.parametrize("event", UNSPEAKABLE)
async def test_an_event_that_cannot_be_written_down_fails_its_command_alone(
    store: Store, start_committer: StartCommitter, event: Any
) -> None:
    committer = await start_committer()
    writes = [(account_stream("b"), [points.AccountOpened("b")]), (account_stream("a"), [event])]
    outcomes = await asyncio.gather(
        committer.submit(work(opens("a"))),
        committer.submit(work(lambda _: Decision(200, None, writes))),
        committer.submit(work(opens("b"))),
        return_exceptions=True,
    )
    assert [isinstance(outcome, Answer) for outcome in outcomes] == [True, False, True]
    assert committer.broken is None
    assert await balances(store) == {"a": 0, "b": 0}


async def test_a_cache_too_small_for_one_decision_does_not_write_it_twice(
    store: Store, start_committer: StartCommitter
) -> None:
    committer = await start_committer(cache_limit=1)
    users = [f"u{n}" for n in range(5)]
    for _ in range(3):
        await committer.submit(work(opens(*users)))
    handler = Handler(committer)
    answers = await handler.handle_all([(earn(user, 5, "r"), asked()) for user in users])
    assert isinstance(answers, list)
    assert await balances(store) == dict.fromkeys(users, 5)


# ── what stops everything ──


@pytest.mark.parametrize(
    "events",
    [[account_opened_at(1), account_opened_at(3)], [an_event(account_stream("a"), 1)]],
    ids=["a gap", "an unknown event"],
)
async def test_a_stream_that_is_not_whole_stops_the_process(
    store: Store, start_committer: StartCommitter, events: list[NewEvent]
) -> None:
    await store.append(a_batch(a_command("k", *events), known=0))
    committer = await start_committer()
    with pytest.raises(StoreUnavailable):
        await Handler(committer).handle(spend("a", 1), asked())
    assert isinstance(committer.broken, CorruptionError)
    with pytest.raises(StoreUnavailable):
        await Handler(committer).handle(RegisterMember("b", "B"), asked())


async def test_a_log_that_went_back_stops_the_process(store: Store, start_committer: StartCommitter) -> None:
    committer = await start_committer()
    committer._known = 10
    with pytest.raises(StoreUnavailable):
        await Handler(committer).handle(RegisterMember("a", "A"), asked())
    assert isinstance(committer.broken, StoreRewoundError)
