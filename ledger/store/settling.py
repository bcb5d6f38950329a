"""What a command's part in an append means to the one who waits for it.

Pure. Read next: `committer.py`.
"""

from datetime import datetime

from ledger.decision import Answer
from ledger.errors import IdempotencyKeyReused, LedgerError
from ledger.store.flush import Decided, Flush
from ledger.store.port import Appended, Kept
from ledger.store.work import Work, replayed_answer, stamped

Outcome = Answer | BaseException


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


def answer_of(decided: Decided, first: int, last: int, recorded_at: datetime) -> Answer | BaseException:
    """The outcome of a command of a good unit, whose events got the positions from `first` to `last`."""
    decision = decided.decision
    if decision is not None:
        return Answer(decision.status, stamped(decision.data, first, recorded_at), last, False)
    if decided.error is not None:
        return decided.error
    assert decided.work.known is not None, "a work without a decision is one whose key was known"
    return decided.work.known


def outcomes_of(
    flush: Flush, outcome: Appended, resent_after: int | None
) -> tuple[list[tuple[Work, Outcome]], list[Work]]:
    """What each command is told, and those to be decided again.

    `resent_after`: the append had to be sent again by a process that knew the log up to there, None if it had not. Such a
    one finds its own keys, later than all it knew of: that is the first answer, not a replay.
    """
    told: list[tuple[Work, Outcome]] = []
    lost: list[Work] = []
    kept = {found.index: found for found in outcome.kept}
    for index, claim in outcome.taken:
        note_taken(flush.decided[index], claim)
    bad = outcome.bad_units
    position = outcome.head_before
    for index, decided in enumerate(flush.decided):
        work = decided.work
        if not bad or flush.unit_of(index) not in bad:
            first = position + 1
            position += len(decided.events)
            told.append((work, answer_of(decided, first, position, outcome.recorded_at)))
            continue
        if (found := kept.get(index)) is not None:
            work.known = meaning(work, found, replayed=resent_after is None or found.first_position <= resent_after)
            if work.group is None:
                told.append((work, work.known))
                continue
        work.attempts += 1
        lost.append(work)
    return told, lost
