"""One command on its way through the committer, and the answer that is kept of it.

Standard library and msgspec. Read next: `committer.py`.
"""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from struct import Struct
from typing import Any, Final, Protocol

import msgspec
import uuid_utils

from ledger.decision import Answer, Decide, Origin
from ledger.errors import LedgerError
from ledger.store.codec import Metadata, decode, encode
from ledger.store.port import Kept
from ledger.transactions import Transaction, TransactionAnswer, transaction_answer

_decode_kept: Final = msgspec.json.Decoder().decode
_STATUS_ALONE: Final = {status: encode((status,)) for status in (200, 201)}
_first_64_bits: Final = Struct(">q24x").unpack


def digest_of(scope: str, value: str) -> int:
    """64 bits of SHA-256(scope ‖ 0 ‖ value), signed as PostgreSQL's bigint."""
    return _digest(f"{scope}\0{value}")


def _digest(text: str) -> int:
    digest: int = _first_64_bits(sha256(text.encode()).digest())[0]
    return digest


class Group:
    """Commands that happen all or none. `refusal` is the index and error of the one that stopped them."""

    __slots__ = ("refusal",)

    def __init__(self) -> None:
        """No refusal yet."""
        self.refusal: tuple[int, LedgerError] | None = None


class Waiting(Protocol):
    """Who waits for an outcome: a future, or what is told at once. It is told within the flusher, so it never raises."""

    def done(self) -> bool:
        """Whether it need not be told any more."""

    def set_result(self, outcome: Answer, /) -> None:
        """The answer."""

    def set_exception(self, outcome: BaseException, /) -> None:
        """The refusal."""


class Work:
    """A command waiting for its outcome: how to decide it, under which key, and who waits."""

    __slots__ = (
        "attempts",
        "caller",
        "decide",
        "digest",
        "fingerprint",
        "followers",
        "future",
        "group",
        "identity",
        "key",
        "known",
        "metadata",
        "needs",
        "taken",
    )

    def __init__(self, origin: Origin, decide: Decide, group: Group | None = None) -> None:
        """A key is made where the client sent none, so that an append without an answer can be told by it."""
        command_id = str(uuid_utils.uuid7())
        self.caller = origin.actor.id
        self.key = origin.key if origin.key is not None else "made-" + command_id
        # One string, which is hashed once: it is looked up four times while the command is in flight.
        self.identity = identity = f"{self.caller}\0{self.key}"
        self.digest = _digest(identity)
        self.fingerprint = origin.fingerprint
        self.decide = decide
        self.group = group
        self.metadata = encode(
            Metadata(
                origin.actor,
                origin.now,
                origin.request_id,
                command_id,
                origin.correlation_id,
                origin.causation_id,
                origin.key,
            )
        )
        self.needs: Sequence[str] | None = None
        """The streams it reads, all of them, where that is known beforehand: what is missing is then found unasked."""
        self.attempts = 0
        self.taken: set[tuple[str, str]] | None = None
        self.known: Answer | LedgerError | None = None
        self.future: Waiting | None = None
        self.followers: list[asyncio.Future[Answer]] | None = None

    def settle(self, outcome: Answer | BaseException) -> None:
        """Give the outcome to all who wait and still listen: a client that hung up must not stop the flusher."""
        future = self.future
        # What happens nearly always, without one frame more.
        if type(outcome) is Answer and future is not None and not future.done():
            future.set_result(outcome)
        else:
            _tell(future, outcome)
        if self.followers is not None:
            for follower in self.followers:
                _tell(follower, outcome)


def _tell(future: Waiting | None, outcome: Answer | BaseException) -> None:
    if future is not None and not future.done():
        if type(outcome) is Answer:  # isinstance on a Struct goes through a Python ABC
            future.set_result(outcome)
        elif isinstance(outcome, BaseException):
            future.set_exception(outcome)


class Countdown:
    """One thing to wait for instead of a future for each of many commands."""

    __slots__ = ("_left", "done", "slots")

    def __init__(self, count: int) -> None:
        """Inside the running loop; `count` is at least 1."""
        self._left = count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.slots = [Slot(self) for _ in range(count)]

    def one_less(self) -> None:
        """Another slot is filled."""
        self._left -= 1
        if self._left == 0 and not self.done.done():
            self.done.set_result(None)


class Slot:
    """What a work needs of a future, for one of many that are counted down together."""

    __slots__ = ("_countdown", "outcome")

    def __init__(self, countdown: Countdown) -> None:
        """Empty."""
        self._countdown = countdown
        self.outcome: Answer | BaseException | None = None

    def done(self) -> bool:
        """Whether it has its outcome."""
        return self.outcome is not None

    def set_result(self, outcome: Answer) -> None:
        """Fill it with the answer."""
        self.outcome = outcome
        self._countdown.one_less()

    def set_exception(self, outcome: BaseException) -> None:
        """Fill it with the refusal."""
        self.outcome = outcome
        self._countdown.one_less()


def stored_answer(status: int, data: Any) -> bytes:
    """The bytes that are kept: status and data, without positions and times. A transaction is in its event already."""
    if type(data) is TransactionAnswer:
        return _STATUS_ALONE[status]
    return encode((status, data))


def stamped(data: Any, first_position: int, recorded_at: Any) -> Any:
    """The answer's data with the position and time the store gave (in place)."""
    transaction = data.transaction if type(data) is TransactionAnswer else getattr(data, "transaction", None)
    if type(transaction) is Transaction:  # isinstance on a Struct goes through a Python ABC
        transaction.stamp(first_position, recorded_at)
    return data


def replayed_answer(kept: Kept, *, replayed: bool = True) -> Answer:
    """The first answer again, rendered from what was kept."""
    if kept.needs_events:
        (status,) = _decode_kept(kept.answer)
        answer = transaction_answer([decode(tag, data) for tag, data in kept.events])
        return Answer(status, stamped(answer, kept.first_position, kept.recorded_at), kept.last_position, replayed)
    status, data = _decode_kept(kept.answer)
    if isinstance(data, dict) and isinstance(transaction := data.get("transaction"), dict):
        position = transaction["position"] + kept.first_position
        transaction["position"] = position
        transaction["id"] = f"txn_{position}"
        transaction["createdAt"] = kept.recorded_at
        if isinstance(discount := data.get("discount"), dict) and "creditAmount" in discount:
            # Kept as text, as a float would not hold it; it goes out as the number it was.
            discount["creditAmount"] = Decimal(discount["creditAmount"])
    return Answer(status, data, kept.last_position, replayed)
