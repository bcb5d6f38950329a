"""A stream's state from what was loaded: a snapshot, and the events after it.

Read next: `committer.py`, which loads.
"""

from ledger.audit.chain import GENESIS
from ledger.errors import CorruptionError
from ledger.store.cache import Entry
from ledger.store.codec import category_of, decode
from ledger.store.port import Tail


def folded(stream: str, tail: Tail | None) -> Entry:
    """The stream's state: snapshot and the events after it, checked to follow each other without gap."""
    category = category_of(stream)
    if tail is None:
        return Entry(0, GENESIS, category.initial(), category)
    version = tail.snapshot_version
    state = category.initial() if tail.snapshot_state is None else category.decode_state(tail.snapshot_state)
    evolve = category.evolve
    for actual, tag, data in tail.events:
        version += 1
        if actual != version:
            msg = f"{stream} has version {actual} where {version} belongs"
            raise CorruptionError(msg)
        state = evolve(state, decode(tag, data))
    return Entry(version, tail.last_hash or GENESIS, state, category)
