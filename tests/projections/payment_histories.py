"""Random histories of purchases, payments, disputes and money in suspense, through the use cases; and the same, folded."""

import random
from typing import Any

from ledger import ids
from ledger.domain.dead_letters import ReplayDeadLetter, SkipDeadLetter
from ledger.domain.deliveries import Delivery
from ledger.domain.disputes import AddEvidence, AssignDispute, OpenDispute, ResolveDispute
from ledger.domain.instructions import CancelInstruction, ConfirmInstruction, Instruct
from ledger.domain.payments import CancelPayment, OpenPayment
from ledger.domain.programme import DEFAULT_PROGRAMME, ReplaceProgramme
from ledger.domain.purchases import STATUSES, ChangePurchaseStatus, RegisterPurchase
from ledger.domain.redemptions import RedeemPoints
from ledger.domain.suspense import SettleSuspense
from ledger.errors import LedgerError
from ledger.money import Money
from ledger.store import codec
from projections.catalogue import PROJECTIONS
from projections.log import head_of, read_page

MEMBERS = ("ann", "sue", "eve")
PRICES = ((10_000, "USD"), (7, "JPY"), (2_500_000, "USDT"))
KEPT = ("payments", "disputes", "suspense", "webhook_letters", "purchases", "room_events")
MODELS = [projection for projection in PROJECTIONS if projection.name in KEPT]
EVERYTHING = {
    "purchase", "redeem", "pay", "give_up", "deliver", "instruct", "settle", "dispute", "evidence", "resolve", "advance",
    "suspense", "letter",
}  # fmt: skip
DELIVERIES = (
    *("payment.confirmed",) * 4, "payment.completed", "payment.partial", "payment.processing", "payment.failed",
    "payment.chargeback",
)  # fmt: skip


class History:
    """`step` does something that may be refused; what was done is remembered only as ids to do something with."""

    def __init__(self, ledger: Any, seed: int) -> None:
        self.ledger = ledger
        self.chance = random.Random(seed)
        self.numbers = iter(range(1, 10**9))
        self.purchases: list[tuple[str, str, str]] = []
        self.payments: list[tuple[str, str]] = []
        self.instructions: list[tuple[str, str, str]] = []
        self.disputes: list[str] = []
        self.letters: list[str] = ["none"]
        self.done: set[str] = set()

    def new(self, kind: str) -> str:
        return f"{kind}-{next(self.numbers)}"

    async def begin(self) -> None:
        await self.ledger.open(*MEMBERS)
        for member in MEMBERS:
            await self.ledger.earn(member, 100_000)
        rules = {**{f: getattr(DEFAULT_PROGRAMME, f) for f in DEFAULT_PROGRAMME.__struct_fields__}}
        rules |= {"platform_fee_bps": 250, "refund_policy": "reverse"}
        await self.ledger(ReplaceProgramme(type(DEFAULT_PROGRAMME)(**rules)))

    async def run(self, steps: int) -> None:
        for _ in range(steps):
            await self.step()

    async def step(self) -> None:
        kinds = [self.purchase] * 3 + [self.pay] * 6 + [self.deliver] * 6 + [self.instruct] * 4 + [self.settle] * 4
        kinds += [
            self.dispute,
            self.dispute,
            self.dispute,
            self.resolve,
            self.evidence,
            self.evidence,
            self.advance,
            self.advance,
            self.advance,
        ]
        kinds += [self.suspense, self.suspense, self.letter, self.give_up, self.redeem]
        do = self.chance.choice(kinds)
        try:
            await do()
        except LedgerError:
            return
        self.done.add(do.__name__)

    async def purchase(self) -> None:
        buyer, seller = self.chance.sample(MEMBERS, 2)
        purchase = self.new("purchase")
        price = Money(*self.chance.choice(PRICES))
        await self.ledger(RegisterPurchase(purchase, buyer, seller, price))
        self.purchases.append((purchase, buyer, price.currency))

    async def redeem(self) -> None:
        purchase, buyer, _ = self.chance.choice(self.purchases or [("none", "ann", "USD")])
        await self.ledger(RedeemPoints(buyer, 300, purchase))

    async def pay(self) -> None:
        purchase, buyer, currency = self.chance.choice(self.purchases[-4:] or [("none", "ann", "USD")])
        payment = self.new("pay")
        await self.ledger(OpenPayment(payment, purchase, "stripe", buyer, "buyer"))
        self.payments.append((payment, currency))

    async def give_up(self) -> None:
        await self.ledger(CancelPayment(self._payment()[0], "shop", "service"))

    def _payment(self) -> tuple[str, str]:
        return self.chance.choice([*self.payments, ("none", "USD")])

    async def deliver(self) -> None:
        payment, currency = self._payment()
        letter = self.new("letter")
        tx = self.new("tx") if self.chance.random() < 0.9 else ""
        amount = self.chance.choice((1, 3, 7, 10_000, 9_700, 2_500_000))
        kind = self.chance.choice(DELIVERIES)
        fee = self.chance.choice((0, 0, 1))
        self.letters.append(letter)
        await self.ledger(Delivery(letter, "stripe", self.new("msg"), kind, payment, amount, currency, tx, fee))

    async def instruct(self) -> None:
        payment, currency = self._payment()
        kind = self.chance.choice(("release", "refund"))
        amount = None if self.chance.random() < 0.5 else Money(self.chance.choice((1, 3, 1000)), currency)
        instruction = self.new("ins")
        await self.ledger(Instruct(instruction, payment, kind, amount, "root", "admin"))
        self.instructions.append((instruction, payment, kind))

    async def settle(self) -> None:
        instruction, payment, kind = self.chance.choice([*self.instructions, ("none", "none", "refund")])
        if self.chance.random() < 0.7:
            await self.ledger(ConfirmInstruction(instruction, payment, kind, self.new("tx")))
        else:
            await self.ledger(CancelInstruction(instruction, payment, kind))

    async def dispute(self) -> None:
        purchase, buyer, _ = self.chance.choice(self.purchases or [("none", "ann", "USD")])
        dispute = self.new("dispute")
        await self.ledger(OpenDispute(dispute, purchase, buyer, "other", "low", "Broken"))
        self.disputes.append(dispute)

    async def evidence(self) -> None:
        dispute = self.chance.choice([*self.disputes[-2:], "none"])
        await self.ledger(AddEvidence(self.new("piece"), dispute, "rob", "resolver", "See", "https://x.example"))
        await self.ledger(AssignDispute(dispute, "rob"))

    async def resolve(self) -> None:
        dispute = self.chance.choice([*self.disputes, "none"])
        action = self.chance.choice(("refund", "no_action"))
        refund, release = self.new("ins"), self.new("ins")
        answer = await self.ledger(ResolveDispute(dispute, "rob", action, "Done", refund, release))
        for one in answer.data.instructions:
            self.instructions.append((one.instruction_id, one.payment_id, one.kind))

    async def advance(self) -> None:
        purchase, _, _ = self.chance.choice(self.purchases or [("none", "ann", "USD")])
        await self.ledger(ChangePurchaseStatus(purchase, self.chance.choice(STATUSES[1:-1]), "", self.new("ins")))

    async def suspense(self) -> None:
        letter, (payment, _) = self.chance.choice(self.letters), self._payment()
        if self.chance.random() < 0.5:
            await self.ledger(SettleSuspense(letter, "return", "Not ours", "", self.new("tx")))
        else:
            await self.ledger(SettleSuspense(letter, "apply", "Ours", payment))

    async def letter(self) -> None:
        letter = self.chance.choice(self.letters[-8:])
        if self.chance.random() < 0.5:
            await self.ledger(SkipDeadLetter(letter, "Seen"))
        else:
            await self.ledger(ReplayDeadLetter(letter, self.new("letter")))


class Folded:
    """Every stream of the log as its domain folds it, the slow way."""

    def __init__(self, events: list[Any]) -> None:
        self.events = events
        self.states: dict[str, Any] = {}
        self.logged: dict[str, list[Any]] = {}
        for logged in events:
            category = codec.category_of(logged.stream)
            state = category.copy(self.states.get(logged.stream, category.initial()))
            self.states[logged.stream] = category.evolve(state, logged.event)
            self.logged.setdefault(logged.stream, []).append(logged)

    def of(self, category: str) -> dict[str, Any]:
        """Id → state, of one kind of stream, newest first."""
        streams = [stream for stream in self.states if ids.category(stream) == category]
        streams.sort(key=lambda stream: -self.logged[stream][0].position)
        return {ids.stream_subject(stream): self.states[stream] for stream in streams}


async def folded(pool: Any) -> Folded:
    async with pool.acquire() as connection:
        page = await read_page(connection, 0, await head_of(connection), metadata=False)
    return Folded(page.events)
