"""What tests of payments say in a word: a provider that signs, a purchase, a payment that is funded.

The provider's signature is made here from the specification, apart from the library that checks it.
"""

import base64
import hashlib
import hmac
import time
from typing import Any

import msgspec

SECRETS = {
    "stripe": "whsec_" + base64.b64encode(b"the first secret of stripe").decode(),
    "stripe next": "whsec_" + base64.b64encode(b"the second secret of stripe").decode(),
    "chain": "whsec_" + base64.b64encode(b"the secret of the chain").decode(),
}
WEBHOOK_SECRETS = f"stripe={SECRETS['stripe']}|{SECRETS['stripe next']},chain={SECRETS['chain']}"
HOME = "/api/payment/webhooks/"


def money(amount: str, currency: str = "USD") -> dict[str, str]:
    return {"amount": amount, "currency": currency}


def signed(body: bytes, webhook_id: str, *, secret: str = SECRETS["stripe"], at: int | None = None) -> dict[str, str]:
    """The three headers of Standard Webhooks."""
    stamp = str(int(time.time()) if at is None else at)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, b".".join((webhook_id.encode(), stamp.encode(), body)), hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(mac).decode()
    return {"webhook-id": webhook_id, "webhook-timestamp": stamp, "webhook-signature": signature}


def told(payment: str, kind: str, amount: str, tx: str | None = None, **more: Any) -> dict[str, Any]:
    """The body of a delivery."""
    body = {"type": f"payment.{kind}", "paymentId": payment, "amount": amount, "currency": "USD"} | more
    return body if tx is None else body | {"txHash": tx}


async def deliver(api: Any, body: dict[str, Any], *, webhook_id: str = "", provider: str = "stripe", **how: Any) -> Any:
    """Send it signed, under a new id unless one is given."""
    raw = msgspec.json.encode(body)
    secret = how.pop("secret", None) or SECRETS[provider]
    headers = signed(raw, webhook_id or api.name("msg"), secret=secret, **how)
    return await api.http.post(HOME + provider, content=raw, headers={"Content-Type": "application/json"} | headers)


def error(answer: Any) -> tuple[int, str]:
    """Status and code, for a refusal in one line."""
    return answer.status_code, answer.json().get("error")


async def events_of(api: Any, stream: str) -> list[Any]:
    """What the log holds of the stream, now: the read model is asked for what comes behind everything before."""
    head = (await api.post("/api/members", {"userId": api.name("user"), "name": "Ada"})).headers["Ledger-Position"]
    answer = await api.get("/api/admin/events", stream=stream, limit=100, sortOrder="asc", minPosition=head)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"]["events"])


class Deal:
    """A purchase with its parties and its payment."""

    def __init__(self, api: Any, purchase: str, buyer: str, seller: str, payment: str = "") -> None:
        self.api = api
        self.purchase, self.buyer, self.seller, self.payment = purchase, buyer, seller, payment

    @property
    def path(self) -> str:
        return f"/api/payment/{self.payment}"

    async def events(self) -> list[Any]:
        """Of its payment."""
        return await events_of(self.api, f"payment-{self.payment}")

    async def types(self) -> list[str]:
        """What has happened to its payment, in the words of the log."""
        return [event["type"].removeprefix("payment.").removesuffix(".v1") for event in await self.events()]

    async def standing(self) -> dict[str, Any]:
        """How its payment stands by its last event; a bucket that is not named is empty."""
        return dict((await self.events())[-1]["data"].get("after", {}))

    async def instruct(self, kind: str, amount: str | None = None, **who: Any) -> Any:
        by = who or {"user": self.buyer if kind == "release" else self.seller, "role": "buyer"}
        body = {} if amount is None else {"amount": money(amount)}
        return await self.api.post(f"{self.path}/{kind}", body, **by)

    async def reserved(self, kind: str, amount: str | None = None) -> str:
        """The id of a new instruction."""
        answer = await self.instruct(kind, amount)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["data"]["instructionId"])

    async def confirm(self, kind: str, instruction: str, tx: str) -> Any:
        return await self.api.post(f"{self.path}/{kind}/confirm", {"instructionId": instruction, "txHash": tx})

    async def paid_out(self, kind: str, amount: str | None = None) -> Any:
        """Instructed and confirmed."""
        instructed = await self.instruct(kind, amount)
        assert instructed.status_code == 201, instructed.text
        answer = await self.confirm(kind, instructed.json()["data"]["instructionId"], self.api.name("tx"))
        assert answer.status_code == 200, answer.text
        return answer

    async def dispute(self, amount: str | None = None, **more: Any) -> Any:
        body = {"purchaseRequestId": self.purchase, "category": "other", "priority": "low", "reason": "Hm."} | more
        if amount is not None:
            body["amount"] = money(amount)
        return await self.api.post("/api/disputes", body, self.buyer, "buyer")

    async def disputed(self, amount: str | None = None) -> str:
        """The path of a new dispute."""
        answer = await self.dispute(amount)
        assert answer.status_code == 201, answer.text
        return f"/api/disputes/{answer.json()['data']['id']}"

    async def status(self, *statuses: str) -> Any:
        for status in statuses:
            answer = await self.api.post(f"/api/purchases/{self.purchase}/status", {"status": status})
            assert answer.status_code == 200, answer.text
        return answer


async def bought(api: Any, price: str = "100.00") -> Deal:
    """A purchase without a payment."""
    deal = Deal(api, api.name("purchase"), await api.member(), await api.member())
    body = {"purchaseRequestId": deal.purchase, "buyerId": deal.buyer, "sellerId": deal.seller, "price": money(price)}
    answer = await api.post("/api/purchases", body)
    assert answer.status_code == 201, answer.text
    return deal


async def opened(api: Any, price: str = "100.00", provider: str = "stripe") -> Deal:
    """A purchase with a payment nobody has paid."""
    deal = await bought(api, price)
    body = {"purchaseRequestId": deal.purchase, "provider": provider}
    answer = await api.post("/api/payment", body, deal.buyer, "buyer")
    assert answer.status_code == 201, answer.text
    deal.payment = answer.json()["data"]["id"]
    return deal


async def funded(api: Any, price: str = "100.00") -> Deal:
    """A purchase that is paid."""
    deal = await opened(api, price)
    answer = await deliver(api, told(deal.payment, "confirmed", price, api.name("tx")))
    assert answer.status_code == 202, answer.text
    return deal
