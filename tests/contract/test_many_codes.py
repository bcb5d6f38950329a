"""Referral codes by the hundred thousand, asked for at once through two processes: no code is given twice.

CODES says how many; the dice are also loaded, so that most candidates are taken and uniqueness is not mere luck.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator

import asyncpg
import pytest

from ledger.domain.referrals import ALPHABET, CODE_LENGTH, GenerateReferralCode
from ledger.errors import ReferralCodesTaken
from ledger.handler import Handler
from ledger.new_codes import fresh_codes
from ledger.store.append import PostgresStore
from ledger.store.committer import Committer
from tests.contract.members import asked, register

pytestmark = [pytest.mark.slow, pytest.mark.services]

CODES = int(os.environ.get("CODES", "100000"))
MEMBERS = 1000
AT_ONCE = 512
SEED = int(os.environ.get("CODES_SEED", random.SystemRandom().randrange(10**6)))


@pytest.fixture
async def handlers(database_url):
    """Two processes' worth of use cases on one log."""
    stores = [await PostgresStore(database_url).open() for _ in range(2)]
    committers = [await Committer(store).start() for store in stores]
    yield [Handler(committer) for committer in committers]
    for committer in committers:
        await committer.stop()
    for store in stores:
        await store.close()


async def generate(
    handlers: list[Handler], number: int, candidates: Callable[[], tuple[str, ...]]
) -> tuple[list[str], int]:
    """So many requests, each member's among all others; the codes that were answered, and how many got none."""
    codes: list[str] = []
    refused = 0
    requests: Iterator[int] = iter(range(number))

    async def ask(process: int) -> None:
        nonlocal refused
        for request in requests:
            user = f"m{request * len(handlers) % MEMBERS + process}"
            command = GenerateReferralCode(user, candidates(), force=True)
            try:
                codes.append((await handlers[process].handle(command, asked())).data.referral_code)
            except ReferralCodesTaken:
                refused += 1

    await register(handlers[0], *(f"m{n}" for n in range(MEMBERS)))
    await asyncio.gather(*(ask(n % len(handlers)) for n in range(AT_ONCE)))
    return codes, refused


async def codes_of_the_log(url: str) -> tuple[Counter[str], Counter[str]]:
    """How often each code was created, and assigned to an account."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT type, data ->> 'code' AS code FROM ledger.event_log WHERE data ->> 'code' IS NOT NULL"
        )
        versions = await connection.fetchval("SELECT max(version) FROM ledger.events WHERE stream LIKE 'code-%'")
    finally:
        await connection.close()
    assert versions == 1, "a code was created twice"
    created = Counter(row["code"] for row in rows if row["type"] == "referral.code-created.v1")
    assigned = Counter(row["code"] for row in rows if row["type"] != "referral.code-created.v1")
    return created, assigned


async def test_codes_asked_for_by_the_hundred_thousand_are_all_different(handlers, database_url):
    codes, refused = await generate(handlers, CODES, fresh_codes)
    assert (len(codes), len(set(codes)), refused) == (CODES, CODES, 0)
    created, assigned = await codes_of_the_log(database_url)
    assert created == assigned == Counter(codes)


async def test_where_most_candidates_are_taken_no_code_is_given_twice_and_who_gets_none_is_told(handlers, database_url):
    """Three letters are rolled, 32,768 codes there are: the last ones asked for meet taken ones nearly always."""
    print("CODES_SEED", SEED)
    dice = random.Random(SEED)
    number = min(CODES, 40_000)

    def loaded() -> tuple[str, ...]:
        return tuple("A" * (CODE_LENGTH - 3) + "".join(dice.choices(ALPHABET, k=3)) for _ in range(4))

    codes, refused = await generate(handlers, number, loaded)
    assert len(codes) + refused == number
    assert len(set(codes)) == len(codes) <= len(ALPHABET) ** 3
    assert refused > number // 100, "the dice were not loaded enough"
    created, assigned = await codes_of_the_log(database_url)
    assert created == assigned == Counter(codes)
