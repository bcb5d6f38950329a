"""Examples of payments, disputes and what goes with them, as the documentation shows them. Read next: `examples.py`."""

from typing import Any, Final

USD: Final = "USD"


def money(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": USD}


PAYMENT: Final[dict[str, Any]] = {"purchaseRequestId": "order-2001", "provider": "stripe"}
BUCKETS: Final[dict[str, Any]] = {
    bucket: money("0.00")
    for bucket in (
        "gross", "providerFees", "platformFees", "held", "disputed", "releasing", "refunding", "released", "refunded",
        "suspense",
    )
}  # fmt: skip
PAYMENT_VIEW: Final[dict[str, Any]] = {
    "id": "pay_0198c0de00007000800000000001",
    "purchaseRequestId": "order-2001",
    "buyerId": "user-42",
    "sellerId": "user-7",
    "provider": "stripe",
    "amount": money("12.34"),
    "status": "pending",
    "escrowState": "none",
    "buckets": BUCKETS,
    "version": 1,
    "createdAt": "2026-01-31T12:00:00.004211Z",
    "updatedAt": "2026-01-31T12:00:00.004211Z",
}
DELIVERY: Final[dict[str, Any]] = {
    "type": "payment.confirmed",
    "paymentId": PAYMENT_VIEW["id"],
    "amount": "12.34",
    "currency": USD,
    "fees": {"provider": "0.25"},
    "txHash": "0x9f3c27",
}
DELIVERY_ANSWER: Final[dict[str, Any]] = {
    "webhookId": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
    "paymentId": DELIVERY["paymentId"],
}
INSTRUCT: Final[dict[str, Any]] = {"amount": money("4.00")}
INSTRUCTION: Final[dict[str, Any]] = {
    "instructionId": "ins_0198c0de00007000800000000002",
    "paymentId": PAYMENT_VIEW["id"],
    "kind": "release",
    "amount": money("4.00"),
    "status": "reserved",
}
CONFIRM: Final[dict[str, Any]] = {"instructionId": INSTRUCTION["instructionId"], "txHash": "0x51aa0b"}
DISPUTE: Final[dict[str, Any]] = {
    "purchaseRequestId": "order-2001",
    "category": "wrong_item",
    "priority": "high",
    "reason": "The parcel held another book.",
    "amount": money("12.09"),
}
DISPUTE_VIEW: Final[dict[str, Any]] = {
    "id": "dsp_0198c0de00007000800000000003",
    "purchaseRequestId": "order-2001",
    "paymentId": PAYMENT_VIEW["id"],
    "buyerId": "user-42",
    "sellerId": "user-7",
    "amount": money("12.09"),
    "status": "pending",
    "category": "wrong_item",
    "priority": "high",
    "reason": "The parcel held another book.",
    "instructions": [],
    "evidence": [],
}
EVIDENCE: Final[dict[str, Any]] = {"text": "A photograph of the parcel.", "url": "https://files.example/parcel.jpg"}
RESOLVE: Final[dict[str, Any]] = {
    "action": "compensation",
    "note": "Half and half",
    "toBuyer": money("6.05"),
    "toSeller": money("6.04"),
}
SETTLE: Final[dict[str, Any]] = {"action": "return", "reason": "Paid twice by mistake", "txHash": "0x77e1c4"}
SETTLE_ANSWER: Final[dict[str, Any]] = {
    "id": "dl_0198c0de00007000800000000004",
    "action": "return",
    "amount": money("3.00"),
    "remaining": money("0.00"),
    "txHash": "0x77e1c4",
}
LETTER_ANSWER: Final[dict[str, Any]] = {"id": "dl_0198c0de00007000800000000004", "status": "replayed"}
PAYMENT_IN_FULL: Final[dict[str, Any]] = {**PAYMENT_VIEW, "instructions": []}
NONE_OF: Final[dict[str, Any]] = {"count": 0, "amount": money("0.00")}
ONE_OF: Final[dict[str, Any]] = {"count": 1, "amount": money("12.34")}
STATS: Final[dict[str, Any]] = {
    "currencies": [
        {
            "currency": USD,
            **ONE_OF,
            "statuses": {
                **dict.fromkeys(
                    ("cancelled", "refunded", "completed", "confirmed", "partial", "failed", "processing"), NONE_OF
                ),
                "pending": ONE_OF,
            },
            "escrowStates": {
                **dict.fromkeys(
                    (
                        "releasing", "refunding", "partial", "releasable", "funded", "released", "refunded",
                        "cancelled", "failed",
                    ),
                    NONE_OF,
                ),
                "none": ONE_OF,
            },
            "buckets": dict.fromkeys(BUCKETS, NONE_OF),
        }
    ]
}  # fmt: skip
LEDGER: Final[dict[str, Any]] = {
    "buckets": {**BUCKETS, "gross": money("12.34"), "providerFees": money("0.25"), "held": money("12.09")},
    "entries": [
        {
            "position": 42,
            "recordedAt": "2026-01-31T12:01:00.004211Z",
            "occurredAt": "2026-01-31T12:01:00Z",
            "type": "payment.funded.v1",
            "amount": money("12.34"),
            "postings": [
                {"account": "provider_clearing", "debit": money("12.34"), "credit": money("0.00")},
                {"account": "escrow:order-2001", "debit": money("0.00"), "credit": money("12.09")},
                {"account": "fees:provider", "debit": money("0.00"), "credit": money("0.25")},
            ],
            "txHash": "0x9f3c27",
            "actor": {"id": "stripe", "role": "provider"},
        }
    ],
}
SUSPENSE_VIEW: Final[dict[str, Any]] = {
    "id": SETTLE_ANSWER["id"],
    "status": "open",
    "amount": money("3.00"),
    "remaining": money("3.00"),
    "reason": "EXCESS",
    "provider": "stripe",
    "paymentId": PAYMENT_VIEW["id"],
    "purchaseRequestId": "order-2001",
    "txHash": "0x9f3c27",
    "version": 1,
    "createdAt": "2026-01-31T12:01:00.004211Z",
    "updatedAt": "2026-01-31T12:01:00.004211Z",
}
DEAD_LETTER: Final[dict[str, Any]] = {
    "id": LETTER_ANSWER["id"],
    "kind": "webhook",
    "code": "UNKNOWN_PAYMENT",
    "message": "No payment pay_0198c0de00007000800000000009.",
    "status": "waiting",
    "delivery": {
        "provider": "stripe",
        "webhookId": DELIVERY_ANSWER["webhookId"],
        "type": "payment.confirmed",
        "paymentId": "pay_0198c0de00007000800000000009",
        "amount": money("12.34"),
        "txHash": "0x9f3c27",
    },
    "suspenseId": LETTER_ANSWER["id"],
    "createdAt": "2026-01-31T12:01:00.004211Z",
}
