"""The examples in the documentation: one member, one order, the same numbers everywhere.

Plain data; the programme is the one there is at first. Read next: `openapi.py`.
"""

from typing import Any, Final

import msgspec

from ledger.domain.programme import DEFAULT_PROGRAMME

EARN: Final[dict[str, Any]] = {
    "userId": "user-42",
    "amount": 320,
    "source": "purchase",
    "reference": "order-1001",
    "description": "Order 1001",
    "metadata": {"channel": "web"},
}
TRANSACTION: Final[dict[str, Any]] = {
    "id": "txn_17",
    "type": "earn",
    "source": "purchase",
    "amount": 320,
    "balance": 1280,
    "occurredAt": "2026-01-31T12:00:00Z",
    "createdAt": "2026-01-31T12:00:00.004211Z",
    "position": 17,
    "description": "Order 1001",
    "metadata": {"channel": "web"},
    "reference": "order-1001",
    "purchaseRequestId": "order-1001",
    "expiresAt": "2027-01-31T12:00:00Z",
}
TRANSACTION_ANSWER: Final[dict[str, Any]] = {"transaction": TRANSACTION, "newBalance": 1280}
POINTS: Final[dict[str, Any]] = {
    "balance": 1280,
    "lifetimePoints": 1280,
    "level": {"name": "silver", "tier": 2, "minPoints": 1000, "perks": ["Early access to offers"]},
    "nextLevel": {"name": "gold", "tier": 3, "minPoints": 2500, "pointsToGo": 1220},
    "referralCode": "K7QMX2PA",
    "referralsCount": 3,
    "expiringSoon": [{"points": 320, "expiresAt": "2026-02-14T12:00:00Z"}],
}
EXPIRING: Final[list[dict[str, Any]]] = [{"lotId": 2, "points": 320, "expiresAt": "2026-02-14T12:00:00Z"}]
TRANSACTIONS: Final[dict[str, Any]] = {
    "transactions": [TRANSACTION],
    "pagination": {"page": 1, "limit": 20, "total": 1, "totalPages": 1, "hasMore": False},
}
REFERRALS: Final[dict[str, Any]] = {
    "referrals": [
        {
            "userId": "user-43",
            "name": "Grace Hopper",
            "joinedAt": "2026-01-12T09:30:00Z",
            "pointsEarned": 100,
            "status": "rewarded",
        }
    ],
    "pagination": TRANSACTIONS["pagination"],
}
LEADERBOARD: Final[dict[str, Any]] = {
    "entries": [
        {
            "rank": 1,
            "userId": "user-42",
            "name": "Ada Lovelace",
            "avatar": "https://cdn.example/ada.png",
            "referrals": 3,
            "pointsEarned": 300,
        }
    ],
    "period": "month",
    "from": "2026-01-01T00:00:00Z",
    "to": "2026-02-01T00:00:00Z",
    "timezone": "UTC",
}
LEVELS: Final[dict[str, Any]] = {
    "levels": [
        {
            "name": "silver",
            "tier": 2,
            "minPoints": 1000,
            "maxPoints": 2499,
            "perks": ["Early access to offers"],
            "icon": "medal-silver",
            "color": "#c0c0c0",
            "isActive": True,
        }
    ]
}
PROGRAMME: Final[dict[str, Any]] = msgspec.to_builtins(DEFAULT_PROGRAMME)
BATCH: Final[dict[str, Any]] = {
    "atomic": False,
    "items": [
        {"key": "line-1", "type": "earn", **EARN, "reference": "order-1002"},
        {"key": "line-2", "type": "spend", "userId": "user-7", "amount": 50, "reference": "voucher-9"},
    ],
}
BATCH_ANSWER: Final[dict[str, Any]] = {
    "results": [
        {"index": 0, "key": "line-1", "ok": True, "data": TRANSACTION_ANSWER},
        {
            "index": 1,
            "key": "line-2",
            "ok": False,
            "error": {
                "error": "INSUFFICIENT_POINTS",
                "message": "20 points available, 50 asked for.",
                "statusCode": 400,
            },
        },
    ]
}
MEMBER: Final[dict[str, Any]] = {"userId": "user-42", "name": "Ada Lovelace", "avatar": "https://cdn.example/ada.png"}
MEMBER_ANSWER: Final[dict[str, Any]] = {**MEMBER, "opened": True}
ADMIN_ADD: Final[dict[str, Any]] = {"userId": "user-42", "amount": -20, "reason": "Granted twice by mistake"}
USD: Final = "USD"
PURCHASE: Final[dict[str, Any]] = {
    "purchaseRequestId": "order-2001",
    "buyerId": "user-42",
    "sellerId": "user-7",
    "price": {"amount": "12.34", "currency": USD},
}
PURCHASE_ANSWER: Final[dict[str, Any]] = {
    **PURCHASE,
    "status": "pending",
    "discount": {"amount": "0.00", "currency": USD},
    "amountDue": {"amount": "12.34", "currency": USD},
    "pointsEarned": 0,
    "pointsSpent": 0,
    "paymentStatus": "none",
    "escrowState": "none",
    "hold": False,
    "version": 1,
    "createdAt": "2026-01-31T12:00:00.001207Z",
    "updatedAt": "2026-01-31T12:00:00.001207Z",
}
PURCHASE_VIEW: Final[dict[str, Any]] = {
    **PURCHASE_ANSWER,
    "paymentStatus": "none",
    "escrowState": "none",
    "hold": False,
    "version": 2,
    "createdAt": "2026-01-31T12:00:00.004211Z",
    "updatedAt": "2026-01-31T12:05:00.107342Z",
}
PURCHASE_STATUS: Final[dict[str, Any]] = {"status": "pending_payment", "reason": "Checkout begun"}
PURCHASE_STATUS_ANSWER: Final[dict[str, Any]] = {**PURCHASE_ANSWER, "status": "pending_payment"}
REDEEM: Final[dict[str, Any]] = {"pointsToUse": 320, "purchaseRequestId": "order-2001"}
REDEEM_ANSWER: Final[dict[str, Any]] = {
    "transaction": {
        "id": "txn_31",
        "type": "spend",
        "source": "redemption",
        "amount": 320,
        "balance": 960,
        "occurredAt": "2026-02-01T09:30:00Z",
        "createdAt": "2026-02-01T09:30:00.002764Z",
        "position": 31,
        "description": "Redeemed on purchase order-2001",
        "metadata": {},
        "reference": "order-2001",
        "purchaseRequestId": "order-2001",
    },
    "discount": {"creditAmount": 3.20, "creditMinor": 320, "currency": USD},
    "remainingPoints": 960,
}
REFERRAL_CODE: Final[dict[str, Any]] = {"force": False}
REFERRAL_CODE_ANSWER: Final[dict[str, Any]] = {
    "referralCode": "K7QMX2PA",
    "link": "https://ledger.example/r/K7QMX2PA",
}
LOCK: Final[dict[str, Any]] = {"reason": "Reported as stolen"}
LOCK_ANSWER: Final[dict[str, Any]] = {"userId": "user-42", "locked": True, "reason": "Reported as stolen"}
ACCOUNT_STATE: Final[dict[str, Any]] = {
    "userId": "user-42",
    "balance": 260,
    "lifetimePoints": 320,
    "level": "bronze",
    "lots": [{"lotId": 2, "points": 320, "remaining": 260, "expiresAt": "2027-01-31T12:00:00Z"}],
    "lotsTotal": 1,
    "locked": False,
    "version": 3,
    "position": 31,
    "asOf": "2026-02-01T09:30:00.002764Z",
}
ACCOUNT_EXPLAINED: Final[dict[str, Any]] = {
    **ACCOUNT_STATE,
    "events": [
        {"position": 17, "type": "points.earned.v1", "change": 320, "balanceAfter": 320},
        {"position": 31, "type": "points.spent.v1", "change": -60, "balanceAfter": 260},
    ],
    "eventsTotal": 2,
    "residual": 0,
}
EVENT: Final[dict[str, Any]] = {
    "position": 17,
    "stream": "account-user-42",
    "version": 3,
    "type": "points.earned.v1",
    "recordedAt": "2026-01-31T12:00:00.004211Z",
    "occurredAt": "2026-01-31T12:00:00Z",
    "actor": {"id": "shop", "role": "service"},
    "requestId": "0198c0de-0000-7000-8000-000000000001",
    "commandId": "0198c0de-0000-7000-8000-000000000002",
    "correlationId": "checkout-1001",
    "causationId": None,
    "data": {"userId": "user-42", "amount": 320},
    "hash": "9f" * 32,
}
EVENTS: Final[dict[str, Any]] = {"events": [EVENT], "pagination": TRANSACTIONS["pagination"]}
EVENT_DETAIL: Final[dict[str, Any]] = {
    "event": EVENT,
    "metadata": {"actor": EVENT["actor"], "at": EVENT["occurredAt"]},
    "stateBefore": {"version": 2, "balance": 960},
    "stateAfter": {"version": 3, "balance": 1280},
    "hash": EVENT["hash"],
    "previousHash": "3c" * 32,
    "chainValid": True,
}
READ_MODELS: Final[dict[str, Any]] = {
    "readModels": [
        {
            "name": "points",
            "version": 1,
            "position": 17,
            "lagEvents": 0,
            "lagSeconds": 0.0,
            "state": "live",
            "deadLetters": 0,
        },
    ]
}
