"""How a job that may take minutes leaves room for those who wait: small portions, and a rest after each.

What a command waits for is the append that holds the head, and a core: so a portion is as large as an append that one
would not notice, and the job rests as long as it worked. Standard library only. Read next: `expiry.py`, `relevel.py`.
"""

from asyncio import sleep
from collections.abc import AsyncIterator, Iterable, Sequence
from time import monotonic
from typing import Final, TypeVar

EVENTS_AT_ONCE: Final = 200
"""An append of so many holds the head for some milliseconds."""
REST: Final = 1.0
"""Rest for each second of work."""

T = TypeVar("T")


async def paced(items: Iterable[tuple[T, int]]) -> AsyncIterator[Sequence[T]]:
    """The items in portions, each for as many events as `EVENTS_AT_ONCE`, or one item of more; resting after each."""
    portion: list[T] = []
    events = 0
    for item, weight in items:
        if portion and events + weight > EVENTS_AT_ONCE:
            began = monotonic()
            yield portion
            await sleep((monotonic() - began) * REST)
            portion, events = [], 0
        portion.append(item)
        events += weight
    if portion:
        began = monotonic()
        yield portion
        await sleep((monotonic() - began) * REST)
