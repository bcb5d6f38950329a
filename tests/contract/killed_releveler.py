"""A releveler that kills itself, as `kill -9` would: in the middle of its third page, accounts moved and not checkpointed.

python killed_releveler.py DATABASE_URL ACCOUNTS_A_PAGE
"""

import asyncio
import os
import signal
import sys

import asyncpg

from ledger.store.append import PostgresStore
from ledger.store.committer import Committer
from workers import relevel


async def main(database_url: str, page: str) -> None:
    relevel.PAGE = int(page)
    looks = 0
    advance = relevel.advance_job

    async def third_is_the_last(*args: object) -> bool:
        nonlocal looks
        looks += 1
        if looks == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return await advance(*args)

    relevel.advance_job = third_is_the_last
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=2, server_settings={"role": "ledger_api"})
    committer = await Committer(await PostgresStore(database_url).open()).start()
    await relevel.Releveler(pool, committer).relevel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
