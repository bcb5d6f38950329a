"""What a command's part in an append means to the one who waits for it.

Pure. Read next: `committer.py`.
"""

from ledger.decision import Answer
from ledger.errors import IdempotencyKeyReused, LedgerError
from ledger.store.flush import Decided
from ledger.store.port import Appended, Kept
from ledger.store.work import Work, replayed_answer, stamped


def note_taken(decided: Decided, claim_index: int) -> None:
    """Remember that somebody was first: the next decision is refused with the claim's refusal."""
    claim = decided.claims[claim_index]
    work = decided.work
    work.taken = {*(work.taken or ()), (claim.scope, claim.value)}


def meaning(work: Work, found: Kept, *, replayed: bool) -> Answer | LedgerError:
    """What a key that was used before means for this request."""
    if found.fingerprint != work.fingerprint:
        return IdempotencyKeyReused(f"The key {work.key} was used with another request.")
    return replayed_answer(found, replayed=replayed)


def answer_of(decided: Decided, first: int, last: int, outcome: Appended) -> Answer | BaseException:
    """The outcome of a command of a good unit, whose events got the positions from `first` to `last`."""
    if decided.error is not None:
        return decided.error
    if decided.decision is None:
        assert decided.work.known is not None, "a work without a decision is one whose key was known"
        return decided.work.known
    decision = decided.decision
    return Answer(decision.status, stamped(decision.data, first, outcome.recorded_at), last, replayed=False)
