"""The cells over HTTP: one service with the projector and one without, each with one API process and with two.

Each has its own database and keeps running, idle, while others are measured: starting anew would measure cold caches.
Read next: `client.py`, `running_service.py`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from benchmarks.cells import Cell, Results, Target
from benchmarks.child import Child
from benchmarks.client import Ask
from benchmarks.cluster import SEEDED, Cluster
from benchmarks.in_process import JUDGED_IN_FLIGHT
from benchmarks.load import Measured
from benchmarks.running_service import Service

OPEN_LOOP_SHARE: Final = 0.7
BATCHES_IN_FLIGHT: Final = (1, 8, JUDGED_IN_FLIGHT)
WARM_IN_FLIGHT: Final = 16


class Variant(msgspec.Struct, frozen=True):
    """How the service is started."""

    processes: int
    projector: bool

    @property
    def database(self) -> str:
        """Its own."""
        return f"http_{self.processes}_{'on' if self.projector else 'off'}"

    @property
    def title(self) -> str:
        """For the cells' names."""
        return f"{'PROCESSES=2, ' if self.processes > 1 else ''}projector {'on' if self.projector else 'off'}"


VARIANTS: Final = tuple(Variant(processes, projector) for processes in (1, 2) for projector in (False, True))


def needed(cells: Sequence[Cell]) -> list[Variant]:
    """The variants these cells are of."""
    names = [cell.name for cell in cells if cell.name.startswith("HTTP")]
    return [
        variant
        for variant in VARIANTS
        if any(name.endswith(variant.title) and ("PROCESSES" in name) == (variant.processes > 1) for name in names)
    ]


class Services:
    """All variants, and the one client that loads one of them at a time."""

    def __init__(self, cluster: Cluster) -> None:
        """Nothing runs yet."""
        self._cluster = cluster
        self._client = Child("benchmarks.client")
        self._services = {
            variant: Service(cluster, variant.database, processes=variant.processes, projector=variant.projector)
            for variant in VARIANTS
        }

    async def make(self, variants: Sequence[Variant]) -> None:
        """Start these variants and warm their caches."""
        for variant in variants:
            service = self._services[variant]
            await self._cluster.create(variant.database, template=SEEDED)
            await service.start()
            await warmed(self._client, service)
            await self._cluster.settle(variant.database)

    async def stop(self) -> None:
        """Everything."""
        await self._client.stop()
        for service in self._services.values():
            service.stop()

    def cells_beside(self, base: Cell, kind: str, in_flight: int) -> list[Cell]:
        """The HTTP cells that are compared with this cell of the floor."""
        cells = []
        judged = in_flight == JUDGED_IN_FLIGHT
        for variant in VARIANTS:
            if variant.processes > 1 and not judged:
                continue
            target = None
            if judged and variant == VARIANTS[0]:
                target = Target(ratio=1.0, p99_ms=30) if kind == "uniform" else Target(ratio=4)
            cells.append(self._cell(variant, f"{kind}, {in_flight}", base, "earn", kind, in_flight, target))
            if judged and kind == "uniform" and variant.processes == 1:
                for batches in BATCHES_IN_FLIGHT:
                    title = f"batches of 100, {batches}"
                    target = Target(ratio=3) if batches == JUDGED_IN_FLIGHT and not variant.projector else None
                    cells.append(self._cell(variant, title, base, "batch", kind, batches, target))
        return cells

    def open_loop_cells(self, results: Results) -> list[Cell]:
        """Uniform at 70 % of the most that was measured, for each variant with one process that was."""
        cells = []
        for variant in VARIANTS:
            rates = [
                result.median("per_second")
                for name, result in results.by_name.items()
                if name.startswith("HTTP, uniform") and name.endswith(variant.title) and "PROCESSES" not in name
            ]
            if not rates or variant.processes > 1:
                continue
            rate = max(rates) * OPEN_LOOP_SHARE
            target = Target(p99_ms=30) if not variant.projector else None
            name = f"HTTP, uniform, open loop at 70 %, {variant.title}"
            measure = self._measure(variant, "earn", "uniform", 0, rate)
            cells.append(Cell(name=name, measure=measure, target=target))
        return cells

    def _cell(
        self, variant: Variant, title: str, base: Cell, shape: str, kind: str, in_flight: int, target: Target | None
    ) -> Cell:
        measure = self._measure(variant, shape, kind, in_flight)
        return Cell(name=f"HTTP, {title}, {variant.title}", measure=measure, against=base.name, target=target)

    def _measure(
        self, variant: Variant, shape: str, kind: str, in_flight: int, rate: float = 0.0
    ) -> Callable[[float], Awaitable[Measured]]:
        service = self._services[variant]

        async def measure(seconds: float) -> Measured:
            ask = asked(service, shape=shape, kind=kind, in_flight=in_flight, seconds=seconds, rate=rate)
            return await loaded(self._client, service, ask)

        return measure


def asked(service: Service, **load: Any) -> Ask:
    """A load for that service."""
    return msgspec.convert({"port": service.port, "token": service.token, **load}, Ask)


async def loaded(client: Child, service: Service, ask: Ask) -> Measured:
    """What the client measured; and until the projector has caught up, so that no other cell pays for it."""
    before = service.cpu_seconds()
    found = await client.ask(ask, Measured)
    cpu = service.cpu_seconds() - before
    lag = await service.caught_up()
    parts = [found.note, f"client CPU {found.client_cpu:.2f}", f"API CPU {cpu / found.seconds:.2f}", lag]
    found.note = ", ".join(filter(None, parts))
    return found


async def warmed(client: Child, service: Service) -> None:
    """Earn to every account once: the service's cache holds them all, as after a day."""
    found = await client.ask(asked(service, shape="batch", kind="each", in_flight=WARM_IN_FLIGHT), Measured)
    if found.errors:
        raise RuntimeError(found.note)
    await service.caught_up()
