"""The cells of the engine alone, each beside the floor at the same number in flight.

Two engines, because a cell must not cool another's cache: one that keeps all accounts folded, and one that keeps
nearly none and reads every account from the log. Read next: `engine.py`, `floor.py`.
"""

from typing import Final

from benchmarks.cells import Cell, Target
from benchmarks.child import Child
from benchmarks.cluster import SEEDED, Cluster
from benchmarks.engine import COLD_CACHE_STREAMS, Ask, Kind
from benchmarks.load import Measured

WARM, COLD = "engine", "engine_cold"
IN_FLIGHT: Final = (1, 16, 64, 256)
JUDGED_IN_FLIGHT: Final = 64
CACHE_STREAMS: Final = 400_000


class Engines:
    """The warm one and the cold one, each on its own copy of the seeded database."""

    def __init__(self, cluster: Cluster) -> None:
        """Nothing runs yet."""
        self._cluster = cluster
        self._warm = Child("benchmarks.engine", cluster.url(WARM), str(CACHE_STREAMS))
        self._cold = Child("benchmarks.engine", cluster.url(COLD), str(COLD_CACHE_STREAMS))

    async def make(self, *, lots: bool) -> None:
        """Copy the databases and fill the warm engine's cache; with `lots`, the account with many of them too."""
        for database in (WARM, COLD):
            await self._cluster.create(database, template=SEEDED)
        await self._warm.ask(Ask("warm"), Measured)
        await self._cold.ask(Ask("measure", seconds=0.5), Measured)
        if lots:
            await self._warm.ask(Ask("lots"), Measured)
        await self._cluster.settle(WARM, COLD)

    async def stop(self) -> None:
        """Both."""
        await self._warm.stop()
        await self._cold.stop()

    def cells_beside(self, base: Cell, kind: Kind, in_flight: int) -> list[Cell]:
        """The cells of the engine that are compared with this cell of the floor."""
        cells = [self._cell(base, kind, kind, in_flight)]
        if in_flight == JUDGED_IN_FLIGHT and kind == "hot":
            cells.append(self._cell(base, "hot, earn and spend", "mixed", in_flight))
            cells.append(self._cell(base, "hot, 100,000 lots", "lots", in_flight))
        elif in_flight == JUDGED_IN_FLIGHT:
            cells.append(self._cell(base, "uniform, cold cache", "uniform", in_flight, cold=True))
        return cells

    def _cell(self, base: Cell, title: str, kind: Kind, in_flight: int, *, cold: bool = False) -> Cell:
        engine = self._cold if cold else self._warm

        async def measure(seconds: float) -> Measured:
            return await engine.ask(Ask("measure", kind, in_flight, seconds), Measured)

        judged = in_flight == JUDGED_IN_FLIGHT and title == kind
        target = Target(ratio=2.5 if kind == "uniform" else 10) if judged else None
        return Cell(name=f"in process, {title}, {in_flight}", measure=measure, against=base.name, target=target)
