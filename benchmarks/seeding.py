"""The database all others are copied from: migrated, with every account opened through the engine.

Read next: `engine.py`.
"""

from benchmarks.child import Child
from benchmarks.cluster import SEEDED, Cluster
from benchmarks.engine import Ask
from benchmarks.in_process import CACHE_STREAMS
from benchmarks.load import Measured


async def seed(cluster: Cluster) -> None:
    """Make it; a few commands on the hot account show what one of them stores."""
    url = await cluster.create_migrated(SEEDED)
    child = Child("benchmarks.engine", url, str(CACHE_STREAMS))
    await child.ask(Ask("members"), Measured)
    await child.ask(Ask("measure", "hot", seconds=0.2), Measured)
    await child.stop()
    await cluster.settle(SEEDED)
