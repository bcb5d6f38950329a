"""What payments, disputes and suspense refuse. The rest of the tree is in `errors.py`.

    LedgerError
    ├── NotFound
    │   ├── PaymentNotFound
    │   ├── InstructionNotFound
    │   ├── DisputeNotFound
    │   ├── SuspenseNotFound
    │   └── DeadLetterNotFound
    ├── Conflict
    │   ├── PaymentExists
    │   ├── NothingDue
    │   ├── PaymentAlreadyPaid
    │   ├── AmountOnHold
    │   ├── AmountNotAvailable
    │   ├── TxHashUsed
    │   ├── DisputeExists
    │   └── StillImpossible
    └── NotYours
        ├── NotYourPayment
        └── NotYourDispute

No HTTP in it, as there. Standard library only.
"""

from ledger.errors import Conflict, NotFound, NotYours


class PaymentNotFound(NotFound):
    """No payment was opened under that id."""

    code = "PAYMENT_NOT_FOUND"


class InstructionNotFound(NotFound):
    """The payment has no such instruction of that kind."""

    code = "INSTRUCTION_NOT_FOUND"


class DisputeNotFound(NotFound):
    """No dispute was opened under that id."""

    code = "DISPUTE_NOT_FOUND"


class SuspenseNotFound(NotFound):
    """No money waits under that id."""

    code = "SUSPENSE_NOT_FOUND"


class DeadLetterNotFound(NotFound):
    """No dead letter under that id."""

    code = "DEAD_LETTER_NOT_FOUND"


class PaymentExists(Conflict):
    """The purchase has a payment that is expected, or there."""

    code = "PAYMENT_EXISTS"


class NothingDue(Conflict):
    """The discount pays for all of the purchase."""

    code = "NOTHING_DUE"


class PaymentAlreadyPaid(Conflict):
    """What is paid is refunded, not cancelled."""

    code = "PAYMENT_ALREADY_PAID"


class AmountOnHold(Conflict):
    """So much is there, but a dispute holds a part of it; or a dispute stands in the way."""

    code = "ON_HOLD"


class AmountNotAvailable(Conflict):
    """More than is held."""

    code = "AMOUNT_NOT_AVAILABLE"


class TxHashUsed(Conflict):
    """The transaction belongs to another payment or instruction."""

    code = "TX_HASH_USED"


class DisputeExists(Conflict):
    """The purchase has a dispute that is open."""

    code = "DISPUTE_EXISTS"


class StillImpossible(Conflict):
    """A dead letter that is replayed would become one again."""

    code = "STILL_IMPOSSIBLE"


class NotYourPayment(NotYours):
    """Somebody else's payment, or of the side that may not do this."""

    code = "NOT_YOUR_PAYMENT"


class NotYourDispute(NotYours):
    """Somebody else's dispute; or one's own, which others decide."""

    code = "NOT_YOUR_DISPUTE"
