"""The types that bodies and queries are made of, each with the sentence its refusal ends in.

msgspec and the standard library. Read next: `bodies.py`.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, UnsetType

from ledger.domain.points import MAX_POINTS
from ledger.errors import InvalidCommand
from ledger.ids import ID_PATTERN, VISIBLE_PATTERN, is_id

METADATA_BYTES: Final = 16_384
"""Metadata is written into the event for ever; this much of it is plenty."""
METADATA_LEVELS: Final = 64
"""Far less than the decoder can nest here: whoever reads the event later may have less of a stack left."""

UserId = Annotated[
    str, Meta(pattern=ID_PATTERN, description="1-64 characters of A-Z a-z 0-9 _ . : -", examples=["user-42"])
]
PurchaseId = Annotated[
    str, Meta(pattern=ID_PATTERN, description="1-64 characters of A-Z a-z 0-9 _ . : -", examples=["order-2001"])
]
PaymentId = Annotated[
    str, Meta(pattern=ID_PATTERN, description="1-64 characters of A-Z a-z 0-9 _ . : -", examples=["pay_0198c0de"])
]
InstructionId = Annotated[
    str, Meta(pattern=ID_PATTERN, description="1-64 characters of A-Z a-z 0-9 _ . : -", examples=["ins_0198c0de"])
]
TxHash = Annotated[
    str, Meta(pattern=VISIBLE_PATTERN, description="1-255 visible ASCII characters", examples=["0x9f3c27"])
]
WebUrl = Annotated[
    str, Meta(max_length=2048, pattern=r"^https?://\S+$", description="an http(s) URL of at most 2048 characters")
]
Points = Annotated[int, Meta(ge=1, le=MAX_POINTS, description=f"a whole number from 1 to {MAX_POINTS}", examples=[320])]
SignedPoints = Annotated[
    int,
    Meta(ge=-MAX_POINTS, le=MAX_POINTS, description=f"a whole number from -{MAX_POINTS} to {MAX_POINTS}, not 0"),
]
Reference = Annotated[
    str, Meta(pattern=VISIBLE_PATTERN, description="1-255 visible ASCII characters", examples=["order-1001"])
]
Key = Annotated[
    str, Meta(pattern=VISIBLE_PATTERN, description="1-255 visible ASCII characters", examples=["import-7-line-12"])
]
Reason = Annotated[
    str, Meta(min_length=1, max_length=1000, pattern=r"\S", description="1-1000 characters, not only blanks")
]
Description = Annotated[str, Meta(max_length=1000, description="at most 1000 characters")]
Name = Annotated[
    str, Meta(min_length=1, max_length=200, pattern=r"\S", description="1-200 characters, not only blanks")
]
# Without what a URL never holds as it is, and what ends an attribute of a page that forgets to escape it.
Avatar = Annotated[
    str,
    Meta(
        max_length=2048,
        pattern=r"^https?://[^\s\"<>\\^`{|}]+$",
        description="an http(s) URL of at most 2048 characters",
    ),
]
ReferralCode = Annotated[
    str, Meta(pattern="^[ABCDEFGHJKLMNPQRSTUVWXYZ23456789]{8}$", description="8 characters of A-Z and 2-9 without I, O")
]
Amount = Annotated[
    str,
    Meta(
        pattern=r"^(0|[1-9][0-9]{0,15})(\.[0-9]{1,6})?$",
        description='an unsigned decimal string such as "12.34"',
        examples=["12.34"],
    ),
]
Currency = Annotated[
    str, Meta(pattern="^[A-Z]{3,4}$", description="the ISO 4217 code of a currency, USDT or USDC", examples=["USD"])
]
Instant = Annotated[
    str,
    Meta(
        max_length=40,
        description="an ISO 8601 instant with offset, or a date, which means 00:00 UTC",
        examples=["2026-01-31T12:00:00Z"],
    ),
]
Metadata = Annotated[
    dict[str, Any],
    Meta(description=f"a JSON object of at most {METADATA_BYTES} bytes", examples=[{"campaign": "spring"}]),
]
MinPosition = Annotated[int, Meta(ge=0, le=2**63 - 1, description="a position: a whole number from 0")]


class NoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing needs to be said."""


class MoneyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Money as it comes in: a decimal string of at most the currency's decimals. A JSON number is refused."""

    amount: Amount
    currency: Currency


_INSTANT: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d{2}:\d{2}))?", re.ASCII
)


def instant(field: str, text: str) -> datetime:
    """The instant in UTC. Refused: no offset, no such day, outside of the years 1 to 9999."""
    if _INSTANT.fullmatch(text) is not None:
        try:
            at = datetime.fromisoformat(text.upper())
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise InvalidCommand.field(field, "must be an ISO 8601 instant with offset, or a date, which means 00:00 UTC.")


def optional_instant(field: str, text: str | None) -> datetime | None:
    """As `instant`; None stays None."""
    return None if text is None else instant(field, text)


def _checked_id(field: str, what: str) -> Callable[[str], str]:
    def checked(text: str) -> str:
        if not is_id(text):
            raise InvalidCommand.field(field, "must be 1-64 characters of A-Z a-z 0-9 _ . : -.")
        return text

    checked.__doc__ = f"The {what} id of a path."
    return checked


checked_user_id: Final = _checked_id("userId", "user")
checked_purchase_id: Final = _checked_id("purchaseRequestId", "purchase")
checked_payment_id: Final = _checked_id("paymentId", "payment")
checked_dispute_id: Final = _checked_id("disputeId", "dispute")
checked_suspense_id: Final = _checked_id("suspenseId", "suspense")
checked_letter_id: Final = _checked_id("deadLetterId", "dead letter")


def checked_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata of a size and depth that may be written into an event."""
    if metadata:
        if len(msgspec.json.encode(metadata)) > METADATA_BYTES:
            raise InvalidCommand.field("metadata", f"must be a JSON object of at most {METADATA_BYTES} bytes.")
        level: list[Any] = [metadata]
        for _ in range(METADATA_LEVELS):
            level = [
                part
                for whole in level
                for part in (whole.values() if isinstance(whole, dict) else whole)
                if isinstance(part, dict | list)
            ]
        if level:
            raise InvalidCommand.field("metadata", f"must be nested at most {METADATA_LEVELS} levels deep.")
    return metadata


def deadline(text: str | UnsetType | None) -> datetime | UnsetType | None:
    """`expiresAt`: unset means the default, null means never."""
    return instant("expiresAt", text) if isinstance(text, str) else text
