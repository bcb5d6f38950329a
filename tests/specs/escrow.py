"""The words the specifications of payments are written in: a world in which bob buys from sue, and its money.

Amounts are minor units. `Escrow.check` asks what must hold of the money after any history, from the log alone.
"""

from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from ledger import ids
from ledger.domain.deliveries import Delivery
from ledger.domain.disputes import Dispute, OpenDispute, ResolveDispute
from ledger.domain.instructions import CancelInstruction, ConfirmInstruction, Instruct
from ledger.domain.payment_events import BUCKETS, PaymentFact, Standing
from ledger.domain.payments import CancelPayment, OpenPayment, Payment
from ledger.domain.purchases import ChangePurchaseStatus
from ledger.domain.suspense import SettleSuspense
from ledger.journal import postings_of
from ledger.money import Money
from tests.specs.world import World

KIND_OF_BUCKET = {
    "held": "escrow", "disputed": "disputed", "releasing": "reserved", "refunding": "reserved", "released": "payable",
    "refunded": "refundable", "provider_fees": "fees:provider", "platform_fees": "fees:platform",
}  # fmt: skip
"""Bucket → the kind of account it is, as the specification has it."""


class Escrow(World):
    """`World`, with bob and sue, and fewer words for money."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = count(1)
        self.member("bob", "sue")

    def new(self, what: str) -> str:
        """An id nobody has."""
        return f"{what}-{next(self.numbers)}"

    def sold(
        self, minor: int = 10_000, currency: str = "USD", *, purchase: str = "p-1", payment: str = "pay-1",
        buyer: str = "bob", seller: str = "sue",
    ) -> None:  # fmt: skip
        """A purchase with a payment that is pending."""
        self.purchase(purchase, buyer, seller, minor, currency)
        self.open(purchase, payment)

    def open(self, purchase: str, payment: str, provider: str = "stripe", user: str = "shop", role: str = "service"):
        return self.do(OpenPayment(payment, purchase, provider, user, role))

    def hook(self, kind: str, minor: int = 10_000, tx: str = "", *, payment: str = "pay-1", **more: Any) -> str | None:
        """A delivery, under a webhook-id of its own. The dead letter it became, if it did."""
        letter = self.new("letter")
        said = {"provider": "stripe", "currency": "USD", "provider_fee_minor": 0, "webhook_id": self.new("msg"), **more}
        self.do(
            Delivery(
                letter_id=letter, type=f"payment.{kind}", payment_id=payment, amount_minor=minor, tx_hash=tx, **said
            )
        )
        return letter if ids.letter_stream(letter) in self.events else None

    def paid(self, minor: int = 10_000, **more: Any) -> None:
        """Sold, and all of it paid by transaction `in-<payment>`."""
        fee = {"provider_fee_minor": more.pop("provider_fee_minor", 0)}
        self.sold(minor, **more)
        payment, currency = more.get("payment", "pay-1"), more.get("currency", "USD")
        assert self.hook("confirmed", minor, f"in-{payment}", payment=payment, currency=currency, **fee) is None

    def instruct(
        self, kind: str, minor: int | None = None, *, payment: str = "pay-1", user: str = "ada", role: str = "admin"
    ) -> str:
        name = self.new(kind)
        amount = None if minor is None else Money(minor, self.payment(payment).currency)
        self.do(Instruct(name, payment, kind, amount, user, role))
        return name

    def confirm(self, name: str, tx: str = "", *, payment: str = "pay-1") -> Any:
        return self.do(ConfirmInstruction(name, payment, self._kind(name, payment), tx or f"out-{name}"))

    def call_off(self, name: str, *, payment: str = "pay-1") -> Any:
        return self.do(CancelInstruction(name, payment, self._kind(name, payment)))

    def _kind(self, name: str, payment: str) -> str:
        found = self.payment(payment).instructions.get(name)
        return found.kind if found else "release"

    def gone(self, kind: str, minor: int | None = None, **more: Any) -> str:
        """Instructed and confirmed."""
        name = self.instruct(kind, minor, **more)
        self.confirm(name, payment=more.get("payment", "pay-1"))
        return name

    def dispute(self, minor: int | None = None, *, purchase: str = "p-1", user: str = "bob") -> str:
        name = self.new("dispute")
        currency = self.purchase_state(purchase).currency
        amount = None if minor is None else Money(minor, currency)
        self.do(OpenDispute(name, purchase, user, "wrong_item", "low", "It is blue.", amount))
        return name

    def resolve(
        self, dispute: str, action: str = "refund", buyer: int | None = None, seller: int | None = None,
        *, user: str = "judge",
    ) -> Any:  # fmt: skip
        currency = self.dispute_state(dispute).currency
        parts = [None if minor is None else Money(minor, currency) for minor in (buyer, seller)]
        names = [self.new("refund"), self.new("release")]
        return self.do(ResolveDispute(dispute, user, action, "Seen.", *names, *parts))

    def settle(self, suspense: str, action: str = "return", *, payment: str = "", tx: str = "") -> Any:
        return self.do(SettleSuspense(suspense, action, "Looked at.", payment, tx))

    def cancel(self, purchase: str = "p-1") -> Any:
        """The purchase is cancelled; what is held is reserved under a new id."""
        return self.do(ChangePurchaseStatus(purchase, "cancelled", refund_id=self.new("refund")))

    # ── what is there ──

    def payment(self, payment: str = "pay-1") -> Payment:
        return self.read(ids.payment_stream(payment))

    def dispute_state(self, dispute: str) -> Dispute:
        return self.read(ids.dispute_stream(dispute))

    def standing(self, payment: str = "pay-1") -> Standing:
        return self.payment(payment).standing

    def buckets(self, payment: str = "pay-1") -> dict[str, int]:
        """Those that are not empty, gross and suspense too."""
        standing = self.standing(payment)
        found = {name: getattr(standing, name) for name in ("gross", *BUCKETS, "suspense")}
        return {name: minor for name, minor in found.items() if minor}

    def state(self, payment: str = "pay-1") -> tuple[str, str]:
        return self.standing(payment).status, self.standing(payment).escrow_state

    def subjects(self, category: str) -> list[str]:
        """Which of that kind there are, in the order they came up."""
        return [ids.stream_subject(stream) for stream in self.events if ids.category(stream) == category]

    def waiting(self) -> Counter[str]:
        """What waits in suspense, by currency."""
        found: Counter[str] = Counter()
        for item in self.subjects(ids.SUSPENSE):
            state = self.read(ids.suspense_stream(item))
            found[state.currency] += state.rest_minor
        return +found

    def trial(self) -> dict[tuple[str, str], int]:
        """The balance of every account and currency that is not zero."""
        found: Counter[tuple[str, str]] = Counter()
        for _, event in self.log:
            for posting in postings_of(event):
                found[posting.account, posting.currency] += posting.amount
        return {account: minor for account, minor in found.items() if minor}

    def names(self, payment: str = "pay-1") -> list[str]:
        """The events of the payment, by name."""
        return [type(event).__name__ for event in self.events[ids.payment_stream(payment)]]

    def check(self) -> None:
        """Buckets, accounts and suspense say the same, and everything sums to zero."""
        check_books(self, self.trial())


def check_books(world: Escrow, trial: dict[tuple[str, str], int]) -> None:
    """The accounts of the journal are the buckets of the payments; nothing is created, nothing is lost."""
    for currency in {currency for _, currency in trial}:
        assert sum(minor for (_, code), minor in trial.items() if code == currency) == 0
    wanted: Counter[tuple[str, str]] = Counter()
    excess: Counter[str] = Counter()
    for payment_id in world.subjects(ids.PAYMENT):
        payment = world.payment(payment_id)
        standing = payment.standing
        held = {name: getattr(standing, name) for name in BUCKETS}
        assert min(*held.values(), standing.suspense) >= 0
        assert sum(held.values()) == standing.gross <= payment.due_minor
        excess[payment.currency] += standing.suspense
        for bucket, kind in KIND_OF_BUCKET.items():
            whose = {"payable": payment.seller_id, "refundable": payment.buyer_id}.get(
                kind, payment.purchase_request_id
            )
            account = kind if kind.startswith("fees:") else f"{kind}:{whose}"
            wanted[account, payment.currency] -= held[bucket]
        wanted[f"receivable:{payment.seller_id}", payment.currency] += payment.receivable_minor
    waiting = world.waiting()
    for currency, minor in waiting.items():
        wanted["suspense", currency] -= minor
    money = {
        account: minor for account, minor in trial.items() if account[1] != "PTS" and account[0] != "provider_clearing"
    }
    assert money == {account: minor for account, minor in wanted.items() if minor}
    parked: Counter[str] = Counter()
    for item in world.subjects(ids.SUSPENSE):
        state = world.read(ids.suspense_stream(item))
        parked[state.currency] += 0 if state.payment_id else state.rest_minor
    assert +(parked + excess) == waiting
    for user in world.subjects(ids.ACCOUNT):
        assert trial.get((f"member:{user}", "PTS"), 0) == -world.account(user).balance


def facts(world: Escrow, payment: str = "pay-1") -> list[PaymentFact]:
    return world.events[ids.payment_stream(payment)]


# ── a payment of 100.00 USD in every state it may be in ──


def _in_parts(world: Escrow) -> None:
    world.sold()
    world.hook("partial", 4_000, "in-1")


def _completed(world: Escrow) -> None:
    world.sold()
    world.hook("completed", 10_000, "in-1")


def _cancelled(world: Escrow) -> None:
    world.sold()
    world.do(CancelPayment("pay-1", "bob", "buyer"))


def _told(kind: str) -> Callable[[Escrow], None]:
    def build(world: Escrow) -> None:
        world.sold()
        world.hook(kind)

    return build


def _then(act: Callable[[Escrow], Any]) -> Callable[[Escrow], None]:
    def build(world: Escrow) -> None:
        world.paid()
        act(world)

    return build


STAGES: Final[dict[str, Callable[[Escrow], None]]] = {
    "pending": lambda world: world.sold(),
    "processing": _told("processing"),
    "failed": _told("failed"),
    "cancelled": _cancelled,
    "partial": _in_parts,
    "confirmed": lambda world: world.paid(),
    "completed": _completed,
    "disputed": _then(lambda world: world.dispute()),
    "partly disputed": _then(lambda world: world.dispute(6_000)),
    "releasing": _then(lambda world: world.instruct("release")),
    "refunding": _then(lambda world: world.instruct("refund")),
    "released": _then(lambda world: world.gone("release")),
    "partly released": _then(lambda world: world.gone("release", 6_000)),
    "refunded": _then(lambda world: world.gone("refund")),
    "charged back": _then(lambda world: world.hook("chargeback", 10_000, "back-1")),
}
"""Name → what leads to it."""


def at_stage(name: str) -> Escrow:
    """A world in which payment `pay-1` is in that state."""
    world = Escrow()
    STAGES[name](world)
    return world
