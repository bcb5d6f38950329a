"""The cells of payments over HTTP: a provider's deliveries, and instructions, each through one API process.

Their databases hold payments that wait for them, which the other cells' do not; so they are made only where these cells
are wanted. Read next: `paying.py` for the requests, `http_cells.py` for the other cells.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

import asyncpg

from benchmarks.cells import Cell
from benchmarks.child import Child
from benchmarks.client import Ask
from benchmarks.cluster import SEEDED, Cluster
from benchmarks.engine import Ask as EngineAsk
from benchmarks.http_cells import asked, loaded
from benchmarks.in_process import CACHE_STREAMS
from benchmarks.load import Measured
from benchmarks.running_service import Service

Shape = Literal["webhook", "instruct"]
TITLES: Final[dict[Shape, str]] = {"webhook": "webhooks", "instruct": "instructions"}
_TEMPLATE: Final = "paying"
_UNTRUE: Final = "SELECT count(*) FROM ledger.events WHERE type = 'letter.written.v1'"


class PayingServices:
    """One service with the projector and one without."""

    def __init__(self, cluster: Cluster) -> None:
        """Nothing runs yet."""
        self._cluster = cluster
        self._client = Child("benchmarks.client")
        self._services = {
            projector: Service(cluster, _database(projector), processes=1, projector=projector)
            for projector in (False, True)
        }
        self._used: dict[tuple[bool, Shape], int] = {}

    def cells_beside(self, base: Cell, in_flight: int) -> list[Cell]:
        """Those that are compared with this cell of the floor."""
        return [
            Cell(
                name=f"{title} over HTTP, {in_flight}, {_title(projector)}",
                measure=self._measure(projector, shape, in_flight),
                against=base.name,
            )
            for shape, title in TITLES.items()
            for projector in self._services
        ]

    async def make(self, cells: Sequence[Cell]) -> None:
        """Payments, and the services of these cells; none if they are none of ours."""
        names = [cell.name for cell in cells if cell.name.startswith(tuple(TITLES.values()))]
        wanted = [on for on in self._services if any(name.endswith(_title(on)) for name in names)]
        if not wanted:
            return
        child = Child("benchmarks.engine", await self._cluster.create(_TEMPLATE, template=SEEDED), str(CACHE_STREAMS))
        await child.ask(EngineAsk("payments"), Measured)
        await child.stop()
        for projector in wanted:
            await self._cluster.create(_database(projector), template=_TEMPLATE)
            await self._services[projector].start()
            await self._services[projector].caught_up()
            await self._cluster.settle(_database(projector))

    async def stop(self) -> None:
        """Everything."""
        await self._client.stop()
        for service in self._services.values():
            service.stop()

    def _measure(self, projector: bool, shape: Shape, in_flight: int) -> Callable[[float], Awaitable[Measured]]:
        async def measure(seconds: float) -> Measured:
            service, used = self._services[projector], self._used.get((projector, shape), 0)
            ask: Ask = asked(service, shape=shape, in_flight=in_flight, seconds=seconds, first=used)
            ask.token = service.admin_token
            found = await loaded(self._client, service, ask)
            self._used[projector, shape] = used + found.commands + found.errors
            await self._check_counted(projector)
            return found

        return measure

    async def _check_counted(self, projector: bool) -> None:
        """A delivery that became a dead letter is answered alike, and would be measured as if it had paid."""
        connection = await asyncpg.connect(self._cluster.url(_database(projector)))
        try:
            untrue = await connection.fetchval(_UNTRUE)
        finally:
            await connection.close()
        if untrue:
            msg = f"{untrue} deliveries became dead letters"
            raise RuntimeError(msg)


def _database(projector: bool) -> str:
    return f"paying_{'on' if projector else 'off'}"


def _title(projector: bool) -> str:
    return f"projector {'on' if projector else 'off'}"
