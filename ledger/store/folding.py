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
    version, last_hash = tail.snapshot_version, tail.snapshot_hash or GENESIS
    state = category.initial() if tail.snapshot_state is None else category.decode_state(tail.snapshot_state)
    for actual, tag, data, event_hash in tail.events:
        version += 1
        if actual != version:
            msg = f"{stream} has version {actual} where {version} belongs"
            raise CorruptionError(msg)
        state = category.evolve(state, decode(tag, data))
        last_hash = event_hash
    return Entry(version, last_hash, state, category)
