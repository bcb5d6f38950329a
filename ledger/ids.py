"""Identifiers: what an id may look like, and how a stream is named.

Standard library only. Read next: `domain/points.py`.
"""

import re
from typing import Final

ID_PATTERN: Final = r"^[A-Za-z0-9_.:-]{1,64}$"
"""User, purchase and payment ids are opaque: 1-64 characters of this alphabet."""
VISIBLE_PATTERN: Final = r"^[!-~]{1,255}$"
"""References and idempotency keys: 1-255 visible ASCII characters."""

_ID: Final = re.compile(ID_PATTERN.replace("$", r"\Z"))
_VISIBLE: Final = re.compile(VISIBLE_PATTERN.replace("$", r"\Z"))

ACCOUNT: Final = "account"
PROGRAMME_STREAM: Final = "programme"
CODE: Final = "code"
PURCHASE: Final = "purchase"
PAYMENT: Final = "payment"
DISPUTE: Final = "dispute"
SUSPENSE: Final = "suspense"
LETTER: Final = "letter"
EXPORT: Final = "export"


def is_id(text: str) -> bool:
    """Whether `text` is a well-formed opaque id."""
    return _ID.match(text) is not None


def is_visible(text: str) -> bool:
    """Whether `text` may serve as a reference or an idempotency key."""
    return _VISIBLE.match(text) is not None


def account_stream(user_id: str) -> str:
    """The stream of a member's points account, `account-<userId>`."""
    return "account-" + user_id


def code_stream(code: str) -> str:
    """The stream of a referral code, `code-<CODE>`: whose it is."""
    return "code-" + code


def purchase_stream(purchase_id: str) -> str:
    """The stream of a purchase, `purchase-<purchaseRequestId>`."""
    return "purchase-" + purchase_id


def payment_stream(payment_id: str) -> str:
    """The stream of a payment, `payment-<id>`."""
    return "payment-" + payment_id


def dispute_stream(dispute_id: str) -> str:
    """The stream of a dispute, `dispute-<id>`."""
    return "dispute-" + dispute_id


def suspense_stream(suspense_id: str) -> str:
    """The stream of money that belongs nowhere yet, `suspense-<id>`."""
    return "suspense-" + suspense_id


def letter_stream(letter_id: str) -> str:
    """The stream of a delivery that could not be true, `letter-<id>`."""
    return "letter-" + letter_id


def export_stream(export_id: str) -> str:
    """The stream of one export of the journal, `export-<id>`."""
    return "export-" + export_id


def category(stream: str) -> str:
    """The part of a stream's name before the first hyphen: what kind of thing it is."""
    return stream.partition("-")[0]


def stream_subject(stream: str) -> str:
    """The part after the first hyphen: which one it is (empty for a stream there is one of)."""
    return stream.partition("-")[2]
