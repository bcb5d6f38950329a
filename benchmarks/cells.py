"""A cell: one thing that is measured, what it is compared with, and what it must reach. And the loop that measures them.

Standard library and msgspec only. Read next: `__main__.py`, which lists all cells.
"""

import asyncio
import os
import statistics
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from rich.console import Console

from benchmarks.load import Measured


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What must be reached; all that is given counts."""

    ratio: float | None = None
    """Commands a second, as a multiple of the cell it is compared with."""
    per_second: float | None = None
    p99_ms: float | None = None
    """At most."""

    def __str__(self) -> str:
        """As a person would write it."""
        parts = [
            None if self.ratio is None else f"≥ {self.ratio:g} x",
            None if self.per_second is None else f"≥ {self.per_second:,.0f}/s",
            None if self.p99_ms is None else f"p99 ≤ {self.p99_ms:g} ms",
        ]
        return ", ".join(filter(None, parts))


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """`measure` takes the seconds it may take, and answers what it came to."""

    name: str
    measure: Callable[[float], Awaitable[Measured]]
    against: str | None = None
    target: Target | None = None


class Result(msgspec.Struct):
    """A cell and what every round of it came to."""

    cell: Cell
    rounds: list[Measured] = []
    problem: str | None = None

    def median(self, field: str) -> float:
        """Over the rounds."""
        return statistics.median(getattr(found, field) for found in self.rounds) if self.rounds else 0.0

    @property
    def spread(self) -> float:
        """Half the distance between best and worst round, as a share of the median."""
        rates = [found.per_second for found in self.rounds]
        return (max(rates) - min(rates)) / 2 / self.median("per_second") if self.median("per_second") else 0.0


class Results:
    """What was measured so far, by the cells' names."""

    def __init__(self, console: Console) -> None:
        """`console` hears of every cell as it is done."""
        self._console = console
        self.by_name: dict[str, Result] = {}

    async def measure(self, cells: Sequence[Cell], rounds: int, seconds: float) -> None:
        """All cells in order, again and again: what drifts on this machine drifts under all of them alike."""
        for number in range(1, rounds + 1):
            for cell in cells:
                result = self.by_name.setdefault(cell.name, Result(cell, []))
                # What the cells before have left to the system to write is on the disk: flushes would wait for it here.
                await asyncio.to_thread(os.sync)
                try:
                    found = await cell.measure(seconds)
                except Exception as error:  # one cell that cannot run must not take the other figures with it
                    result.problem = f"{type(error).__name__}: {error}"
                    self._console.print(f"[red]{cell.name}: {result.problem}")
                    continue
                result.rounds.append(found)
                self._console.print(
                    f"[dim]{number}/{rounds}[/] {cell.name:<44} {found.per_second:>9,.0f}/s "
                    f"p50 {found.p50_ms:7.2f} p99 {found.p99_ms:7.2f} ms  [dim]{found.note}"
                )

    def ratio(self, result: Result) -> float | None:
        """Of the medians, to the cell it is compared with; None where there is none."""
        base = self.by_name.get(result.cell.against or "")
        if base is None or not base.rounds or not result.rounds:
            return None
        return result.median("per_second") / base.median("per_second")

    def reached(self, result: Result) -> bool | None:
        """Whether the target is reached; None where there is none. A cell that did not run has missed it."""
        target = result.cell.target
        if target is None:
            return None
        ratio = self.ratio(result)
        return (
            bool(result.rounds)
            and (target.ratio is None or (ratio is not None and ratio >= target.ratio))
            and (target.per_second is None or result.median("per_second") >= target.per_second)
            and (target.p99_ms is None or result.median("p99_ms") <= target.p99_ms)
        )

    @property
    def all_reached(self) -> bool:
        """No target missed, no cell failed."""
        return all(self.reached(r) is not False and r.problem is None for r in self.by_name.values())
