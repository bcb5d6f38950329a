"""Every refusal the ledger knows, as one tree. No HTTP in it: `api/errors.py` gives each its status.

    LedgerError
    ├── InvalidCommand            the command cannot be right, whatever the state
    │   ├── IdempotencyKeyRequired
    │   ├── DuplicateBatchKey
    │   ├── UnknownReferralCode
    │   ├── SelfReferral
    │   ├── ReferralCycle
    │   └── RedemptionWorthNothing
    ├── RefusedByBalance          the balance does not allow it
    │   ├── InsufficientPoints
    │   ├── WouldGoBelowZero
    │   └── BalanceTooLarge
    ├── NotFound
    │   ├── UserNotFound
    │   ├── PurchaseNotFound
    │   ├── EventNotFound
    │   └── ReadModelNotFound
    ├── Conflict                  it contradicts what already happened
    │   ├── AlreadyEarned
    │   ├── ReferrerAlreadyBound
    │   ├── PurchaseExists
    │   ├── PurchaseNotInProgress
    │   ├── InvalidTransition
    │   └── RedemptionAlreadyClaimed
    ├── NotYours                  it is somebody else's
    │   └── NotYourPurchase
    ├── StaleVersion              If-Match names another version
    ├── AccountLocked
    ├── IdempotencyKeyReused      the key was used with another request
    ├── Unavailable               try again later
    │   ├── Overloaded
    │   ├── ReferralCodesTaken
    │   ├── StoreUnavailable
    │   ├── JournalIncomplete
    │   └── ReadModelBehind
    └── CorruptionError           a broken invariant: never caught, it stops what it is doing

What payments and disputes refuse grows on the same tree, in `payment_errors.py`.
A refusal changes nothing. Its `code` is frozen: clients match on it.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

LONGEST_FIELD: Final = 200
"""Of the name of a field, so much is repeated in a refusal."""


class LedgerError(Exception):
    """A refusal: `code` for machines, `message` one sentence with the numbers in it, `data` if it helps."""

    code: ClassVar[str] = "LEDGER_ERROR"

    def __init__(self, message: str, data: Any = None) -> None:
        """Keep the sentence and the optional structured detail."""
        super().__init__(message)
        self.message = message
        self.data = data


class InvalidCommand(LedgerError):
    """The command cannot be right, whatever the state. `data` lists `{field, message}`."""

    code = "VALIDATION_FAILED"

    @classmethod
    def field(cls, field: str, message: str) -> "InvalidCommand":
        """One field is wrong: the sentence names it, `data` lists it."""
        return cls.fields([(field, message)])

    @classmethod
    def fields(cls, problems: Sequence[tuple[str, str]]) -> "InvalidCommand":
        """Several fields are wrong."""
        named = [(_within_reason(field), message) for field, message in problems]
        return cls("; ".join(f"{f}: {m}" for f, m in named), [{"field": f, "message": m} for f, m in named])


def _within_reason(field: str) -> str:
    """A field may be one that nobody knows, of a name that whoever sent it chose: it is not repeated without end."""
    return field if len(field) <= LONGEST_FIELD else field[:LONGEST_FIELD] + "…"


class IdempotencyKeyRequired(InvalidCommand):
    """A command whose route needs an `Idempotency-Key` came without one."""

    code = "IDEMPOTENCY_KEY_REQUIRED"


class DuplicateBatchKey(InvalidCommand):
    """Two items of one batch carry the same key."""

    code = "DUPLICATE_BATCH_KEY"


class UnknownReferralCode(InvalidCommand):
    """Nobody has that referral code."""

    code = "UNKNOWN_REFERRAL_CODE"


class SelfReferral(InvalidCommand):
    """The referral code is the member's own."""

    code = "SELF_REFERRAL"


class ReferralCycle(InvalidCommand):
    """The member has brought, directly or through others, the one whose code it is."""

    code = "REFERRAL_CYCLE"


class RedemptionWorthNothing(InvalidCommand):
    """So few points do not buy the smallest unit of the currency."""

    code = "REDEMPTION_WORTH_NOTHING"


class RefusedByBalance(LedgerError):
    """The balance does not allow it."""

    code = "REFUSED_BY_BALANCE"


class InsufficientPoints(RefusedByBalance):
    """More points asked for than are available."""

    code = "INSUFFICIENT_POINTS"


class WouldGoBelowZero(RefusedByBalance):
    """A deduction larger than the balance."""

    code = "WOULD_GO_BELOW_ZERO"


class BalanceTooLarge(RefusedByBalance):
    """Balance or lifetime would pass 2^53 - 1."""

    code = "BALANCE_TOO_LARGE"


class NotFound(LedgerError):
    """There is no such thing."""

    code = "NOT_FOUND"


class UserNotFound(NotFound):
    """No account was opened for that user."""

    code = "USER_NOT_FOUND"


class PurchaseNotFound(NotFound):
    """No purchase was registered under that id."""

    code = "PURCHASE_NOT_FOUND"


class EventNotFound(NotFound):
    """No event at that position."""

    code = "EVENT_NOT_FOUND"


class ReadModelNotFound(NotFound):
    """No read model of that name."""

    code = "READ_MODEL_NOT_FOUND"


class Conflict(LedgerError):
    """It contradicts what already happened."""

    code = "CONFLICT"


class AlreadyEarned(Conflict):
    """There is an earn for that user, source and reference."""

    code = "ALREADY_EARNED"


class ReferrerAlreadyBound(Conflict):
    """The member has another referrer; there is no second."""

    code = "REFERRER_ALREADY_BOUND"


class PurchaseExists(Conflict):
    """A purchase was registered under that id before."""

    code = "PURCHASE_EXISTS"


class PurchaseNotInProgress(Conflict):
    """Points are redeemed on a purchase that is pending or waits for its payment."""

    code = "PURCHASE_NOT_IN_PROGRESS"


class InvalidTransition(Conflict):
    """A purchase does not go from its status to that one."""

    code = "INVALID_TRANSITION"


class RedemptionAlreadyClaimed(Conflict):
    """Points were redeemed on that purchase before."""

    code = "REDEMPTION_ALREADY_CLAIMED"


class NotYours(LedgerError):
    """It is somebody else's."""

    code = "NOT_YOURS"


class NotYourPurchase(NotYours):
    """Somebody else's purchase, or of the side that may not do this."""

    code = "NOT_YOUR_PURCHASE"


class StaleVersion(LedgerError):
    """`If-Match` names another version than the current one."""

    code = "STALE_VERSION"


class AccountLocked(LedgerError):
    """The account is locked: nothing may be spent from it."""

    code = "ACCOUNT_LOCKED"


class IdempotencyKeyReused(LedgerError):
    """The key was used before, with another method, path or body."""

    code = "IDEMPOTENCY_KEY_REUSED"


class Unavailable(LedgerError):
    """Try again in `retry_after_seconds`."""

    code = "UNAVAILABLE"

    def __init__(self, message: str, retry_after_seconds: int = 1, data: Any = None) -> None:
        """Say also when to come back, in whole seconds."""
        super().__init__(message, data)
        self.retry_after_seconds = retry_after_seconds


class Overloaded(Unavailable):
    """The queue of commands is full."""

    code = "OVERLOADED"


class ReferralCodesTaken(Unavailable):
    """Every code that was thought of belongs to somebody already."""

    code = "REFERRAL_CODES_TAKEN"


class StoreUnavailable(Unavailable):
    """The database does not answer."""

    code = "DATABASE_UNAVAILABLE"


class JournalIncomplete(Unavailable):
    """An event could not be posted to the journal yet. Nothing is handed out until its dead letter is dealt with."""

    code = "JOURNAL_INCOMPLETE"


class ReadModelBehind(Unavailable):
    """The read model did not reach `minPosition` within two seconds."""

    code = "READ_MODEL_BEHIND"


class CorruptionError(Exception):
    """A broken invariant. Deliberately no `LedgerError`: nothing may catch it and go on."""
