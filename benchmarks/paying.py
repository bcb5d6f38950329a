"""What loads of payments are made of: the payments that wait for them, and the requests, signed and built ahead.

A delivery pays one payment whole; a pair of instructions is a release of a cent and the confirmation of another one
that was reserved before. Each payment is used once. `ledger` and the standard library only. Read next: `paying_cells.py`.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from benchmarks import load
from ledger.domain.deliveries import Delivery
from ledger.domain.instructions import Instruct
from ledger.domain.payments import OpenPayment
from ledger.domain.purchases import RegisterPurchase
from ledger.money import Money

PROVIDER: Final = "bench"
_KEY: Final = b"a secret between bench and itself"
WEBHOOK_SECRETS: Final = f"{PROVIDER}=whsec_{base64.b64encode(_KEY).decode()}"
UNPAID: Final = 24_000
"""Payments that wait for a delivery. When all are used, the load ends."""
PAID: Final = 12_000
"""Payments with a release that waits for its confirmation; two requests each."""
_PRICE: Final = Money(10_000, "USD")
_RESERVED: Final = Money(5_000, "USD")


def seeds(number: int) -> Iterator[Any]:
    """The commands that make a payment, in their order. Those beyond `UNPAID` are paid, and a part is reserved."""
    buyer, seller = load.member(2 * number % load.ACCOUNTS), load.member((2 * number + 1) % load.ACCOUNTS)
    purchase, payment = f"purchase-{number}", payment_id(number)
    yield RegisterPurchase(purchase, buyer, seller, _PRICE)
    yield OpenPayment(payment, purchase, PROVIDER, "bench-service", "service")
    if number >= UNPAID:
        tx = load.random_key()
        yield Delivery(f"dl-{number}", PROVIDER, tx, "payment.confirmed", payment, _PRICE.minor, _PRICE.currency, tx)
        yield Instruct(instruction_id(number), payment, "release", _RESERVED, "bench-admin", "admin")


def payment_id(number: int) -> str:
    """As long as those the service makes."""
    return f"pay_{number:032d}"


def instruction_id(number: int) -> str:
    """That of the release which waits on this payment."""
    return f"ins_{number:032d}"


def deliveries(first: int) -> Iterator[bytes]:
    """Requests of a provider from this payment on, signed with the time at which they are built."""
    for number in range(first, UNPAID):
        webhook_id = load.random_key()
        body = msgspec.json.encode(
            {
                "type": "payment.confirmed",
                "paymentId": payment_id(number),
                "amount": "100.00",
                "currency": "USD",
                "txHash": webhook_id,
            }
        )
        stamp = str(int(time.time()))
        mac = hmac.new(_KEY, b".".join((webhook_id.encode(), stamp.encode(), body)), hashlib.sha256).digest()
        head = (
            f"POST /api/payment/webhooks/{PROVIDER} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"webhook-id: {webhook_id}\r\nwebhook-timestamp: {stamp}\r\n"
            f"webhook-signature: v1,{base64.b64encode(mac).decode()}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        yield head.encode() + body


def instructions(first: int, token: str) -> Iterator[bytes]:
    """Requests of an admin from this one on: a confirmation, a release, a confirmation of the next payment's …"""
    for number in range(first, 2 * PAID):
        key = load.random_key()
        payment = UNPAID + number // 2
        if number % 2:
            path, body = "release", '{"amount":{"amount":"0.01","currency":"USD"}}'
        else:
            path = "release/confirm"
            body = f'{{"instructionId":"{instruction_id(payment)}","txHash":"{key}"}}'
        yield (
            f"POST /api/payment/{payment_id(payment)}/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\nIdempotency-Key: {key}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
