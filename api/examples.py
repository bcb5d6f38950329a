"""The examples in the documentation: one member, one order, the same numbers everywhere.

Plain data. Read next: `openapi.py`.
"""

from typing import Any, Final

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
    "referralCode": None,
    "referralsCount": 0,
    "expiringSoon": [{"points": 320, "expiresAt": "2026-02-14T12:00:00Z"}],
}
TRANSACTIONS: Final[dict[str, Any]] = {
    "transactions": [TRANSACTION],
    "pagination": {"page": 1, "limit": 20, "total": 1, "totalPages": 1, "hasMore": False},
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
LOCK: Final[dict[str, Any]] = {"reason": "Reported as stolen"}
LOCK_ANSWER: Final[dict[str, Any]] = {"userId": "user-42", "locked": True, "reason": "Reported as stolen"}
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
        {"name": "points", "version": 1, "position": 17, "lagEvents": 0, "lagSeconds": 0.0, "state": "live"},
    ]
}
