"""What every store keeps for ever: keys with their answers, claims, and contents to the last byte."""

import pytest
from msgspec.structs import replace

from ledger.store.port import Claim, Command, DirectoryRow, RejectedAppendError, Store
from tests.contract.batches import a_batch, a_command, an_event, many_events


async def test_a_key_used_before_gives_its_answer_and_positions_back(store: Store) -> None:
    await store.append(a_batch(a_command("other", an_event("z", 1)), known=0))
    first = a_command("k", an_event("a", 1), an_event("a", 2), fingerprint=b"f" * 32, answer=b'[201,"first"]')
    done = await store.append(a_batch(first, known=1))
    outcome = await store.append(a_batch(a_command("k", an_event("a", 3), fingerprint=b"g" * 32), known=3))
    assert outcome.bad_units == {0}
    (kept,) = outcome.kept
    assert (kept.index, kept.fingerprint, kept.answer) == (0, b"f" * 32, b'[201,"first"]')
    assert (kept.first_position, kept.last_position, kept.recorded_at) == (2, 3, done.recorded_at)
    assert await store.head() == 3


async def test_an_answer_of_a_status_alone_comes_back_with_the_events_it_is_rendered_from(store: Store) -> None:
    await store.append(a_batch(a_command("other", an_event("z", 1)), known=0))
    events = [an_event("a", 1, data=b'{"n":1}', kind="one.v1"), an_event("b", 1, data=b'{"n":2}', kind="two.v1")]
    bare = a_command("bare", *events, unit=0, answer=b"[201]")
    whole = a_command("whole", an_event("c", 1), unit=1, answer=b'[201,"whole"]')
    await store.append(a_batch(bare, whole, known=1))
    outcome = await store.append(a_batch(bare, whole, known=4))
    kept = {found.answer: list(found.events) for found in outcome.kept}
    assert kept == {b"[201]": [("one.v1", b'{"n":1}'), ("two.v1", b'{"n":2}')], b'[201,"whole"]': []}


async def test_a_key_belongs_to_its_caller(store: Store) -> None:
    await store.append(a_batch(a_command("k", an_event("a", 1)), known=0))
    outcome = await store.append(a_batch(a_command("k", an_event("b", 1), caller="somebody-else"), known=1))
    assert outcome.kept == []
    assert outcome.bad_units == frozenset()


async def test_caller_and_key_cannot_be_confused_by_where_one_ends(store: Store) -> None:
    await store.append(a_batch(a_command("c", an_event("a", 1), caller="ab"), known=0))
    outcome = await store.append(a_batch(a_command("bc", an_event("b", 1), caller="a"), known=1))
    assert outcome.bad_units == frozenset()


async def test_a_key_is_compared_whole_where_digests_collide(store: Store) -> None:
    commands = [a_command(f"k{n}", an_event(f"s{n}", 1), unit=n, answer=b'[200,"%d"]' % n) for n in range(4)]
    first, second, *both = [replace(command, digest=7) for command in commands]
    for known, new in enumerate([[first], [second], both]):
        assert (await store.append(a_batch(*new, known=known))).bad_units == frozenset()
    again = await store.append(a_batch(first, second, *both, known=4))
    assert again.bad_units == {0, 1, 2, 3}
    assert sorted((found.index, found.answer) for found in again.kept) == [(n, b'[200,"%d"]' % n) for n in range(4)]
    assert await store.head() == 4


async def test_a_claim_is_compared_whole_where_digests_collide(store: Store) -> None:
    def claiming(key: str, value: str) -> Command:
        return replace(a_command(key, an_event(key, 1)), claims=[Claim("scope", value, 7)])

    for known, (key, value) in enumerate([("k1", "x"), ("k2", "y")]):
        assert (await store.append(a_batch(claiming(key, value), known=known))).taken == []
    for key, value in (("k3", "x"), ("k4", "y")):
        assert (await store.append(a_batch(claiming(key, value), known=2))).taken == [(0, 0)]


async def test_a_used_key_refuses_its_whole_unit_with_what_the_others_in_it_claimed(store: Store) -> None:
    await store.append(a_batch(a_command("k1", an_event("a", 1)), known=0))
    commands = [a_command("k2", an_event("b", 1), claims=["fact"]), a_command("k1", an_event("b", 2))]
    outcome = await store.append(a_batch(*commands, known=1))
    assert outcome.bad_units == {0}
    assert [found.index for found in outcome.kept] == [1]
    assert await store.head() == 1
    retried = await store.append(a_batch(a_command("k2", an_event("b", 1), claims=["fact"]), known=1))
    assert (retried.bad_units, retried.taken) == (frozenset(), [])


async def test_a_refusals_key_is_looked_up_but_not_kept(store: Store) -> None:
    refused = await store.append(a_batch(a_command("k", answer=None), known=0))
    assert (refused.bad_units, refused.head) == (frozenset(), 0)
    done = await store.append(a_batch(a_command("k", an_event("a", 1)), known=0))
    assert done.bad_units == frozenset()
    known = await store.append(a_batch(a_command("k", answer=None), known=1))
    assert [found.index for found in known.kept] == [0]


async def test_a_command_without_events_is_kept_at_the_head_it_was_answered_at(store: Store) -> None:
    await store.append(a_batch(a_command("k1", *many_events("a", 3)), known=0))
    outcome = await store.append(a_batch(a_command("k2", answer=b'[200,"nothing to do"]'), known=3))
    assert (outcome.head_before, outcome.head) == (3, 3)
    (kept,) = (await store.append(a_batch(a_command("k2"), known=3))).kept
    assert (kept.first_position, kept.last_position, kept.answer) == (4, 3, b'[200,"nothing to do"]')


async def test_a_claim_is_given_once_for_ever(store: Store) -> None:
    await store.append(a_batch(a_command("k1", an_event("a", 1), claims=["x", "y"]), known=0))
    commands = [
        a_command("k2", an_event("b", 1), unit=0, claims=["z", "y"]),
        a_command("k3", an_event("c", 1), unit=1, claims=["w"]),
    ]
    outcome = await store.append(a_batch(*commands, known=1))
    assert outcome.bad_units == {0}
    assert outcome.taken == [(0, 1)]
    free = await store.append(a_batch(a_command("k4", an_event("b", 1), claims=["z"]), known=2))
    assert free.taken == [], "what a refused unit claimed was not given"


# ── contents ──

AWKWARD = "O'Brien\"; DROP TABLE ledger.events; -- {1,2} \\ $1 %s NULL 🎈 é\u0301 \u202e"


async def test_names_that_look_like_sql_and_any_letters_are_kept_as_they_are(store: Store) -> None:
    event = an_event(AWKWARD, 1, data=AWKWARD.encode(), kind=AWKWARD)
    command = a_command(AWKWARD, event, caller=AWKWARD, claims=[AWKWARD])
    await store.append(a_batch(command, known=0))
    (found,) = await store.read_stream(AWKWARD)
    assert (found.stream, found.type, found.data) == (AWKWARD, AWKWARD, AWKWARD.encode())
    _, tails = await store.load([(AWKWARD, 1)])
    assert list(tails) == [AWKWARD]
    again = await store.append(a_batch(command, known=1))
    assert [k.index for k in again.kept] == [0]
    assert again.taken == [(0, 0)]


async def test_a_payload_of_megabytes_and_any_bytes_comes_back(store: Store) -> None:
    large = bytes(range(256)) * 16_384
    await store.append(a_batch(a_command("k", an_event("a", 1, data=large, metadata=large[:1000])), known=0))
    (found,) = await store.read(0, 1)
    assert found.data == large
    assert found.metadata == large[:1000]


async def test_text_the_database_cannot_hold_is_rejected_and_nothing_is_kept(store: Store) -> None:
    fine = a_command("k1", an_event("a", 1), unit=0)
    for wrong in (
        a_command("k2", an_event("nul \0 inside", 1), unit=1),
        a_command("nul \0 inside", unit=1),
        a_command("k2", unit=1, caller="nul \0 inside", answer=None),
        a_command("k2", unit=1, directory=DirectoryRow("u", "nul \0 inside", None)),
        a_command("k2", unit=1, directory=DirectoryRow("u", "half a letter \ud800", None)),
        a_command("k2", an_event("b", 2**31), unit=1),
    ):
        with pytest.raises(RejectedAppendError):
            await store.append(a_batch(fine, wrong, known=0))
    assert await store.head() == 0
    assert (await store.append(a_batch(fine, known=0))).head == 1
