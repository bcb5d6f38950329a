"""A flush on its way: being decided, and then with its append under way.

Read next: `committer.py`, whose pipeline these go through.
"""

import asyncio

import msgspec

from ledger.store.flush import Cold, Flush
from ledger.store.intake import Unit
from ledger.store.port import AppendBatch, Appended

Behind = list[tuple[Unit, str | None]]
"""Units that wait for a stream to be loaded (named), and those behind them, which must not overtake."""


class Draft:
    """A flush being decided while another append is under way."""

    __slots__ = ("behind", "flush", "size", "units")

    def __init__(self, flush: Flush) -> None:
        self.flush = flush
        self.units: list[Unit] = []
        self.size = 0
        self.behind: Behind = []


class Sent(msgspec.Struct, frozen=True):
    """A flush whose append is under way."""

    flush: Flush
    units: list[Unit]
    batch: AppendBatch
    append: "asyncio.Future[Appended]"


def decide_in_order(flush: Flush, unit: Unit, behind: Behind) -> None:
    """Decide one unit; if it reads a stream that is not at hand, or one before it does, it stays behind."""
    if behind:
        # Commands keep their order: this one is only asked what it will be missing, so that one load serves all.
        behind.append((unit, flush.probe(unit)))
        return
    try:
        if unit[0].group is None:
            flush.decide(unit[0])
        else:
            flush.decide_group(unit)
    except Cold as missing:
        behind.append((unit, missing.stream))
