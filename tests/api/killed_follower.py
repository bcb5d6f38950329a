"""A follower of the log that kills itself, as `kill -9` would, at the first page: before it is sent, or right after.

python killed_follower.py DATABASE_URL REDIS_URL before|after
"""

import asyncio
import os
import signal
import sys

import asyncpg

from workers.live_events import LiveEvents, RedisPublisher


class Killed(RedisPublisher):
    def __init__(self, redis_url: str, moment: str) -> None:
        super().__init__(redis_url)
        self._moment = moment

    async def publish(self, channel: str, body: bytes) -> None:
        if self._moment == "after":
            await super().publish(channel, body)
        os.kill(os.getpid(), signal.SIGKILL)


async def main(database_url: str, redis_url: str, moment: str) -> None:
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=2, server_settings={"role": "ledger_project"})
    await LiveEvents(pool, database_url, Killed(redis_url, moment)).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
