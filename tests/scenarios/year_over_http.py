"""A service, the book that is kept of it, and the dice: what one member does, done over HTTP and written down.

Read next: `hand_kept_book.py`, and `test_a_year_of_twenty_members.py`, which lets a year pass.
"""

import random
import time
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import httpx
import jwt

from tests.scenarios.hand_kept_book import DECIMALS, STEPS, Book, Person, Purchase

SECRET = "the secret of a year, of more than 32 bytes"
NEW_YORK = "America/New_York"
PROGRAMME = "/api/admin/programme"


class Year:
    """The service, the book, and the dice."""

    def __init__(self, url: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.start = datetime.now(UTC).replace(microsecond=0)
        self.book = Book(self.start)
        self.http = httpx.Client(base_url=url, timeout=20)
        self.position = "0"
        self.count = 0
        self.tokens: dict[tuple[str, str], str] = {}

    def request(self, method: str, path: str, user: str = "shop", role: str = "service", **more: Any) -> httpx.Response:
        if (user, role) not in self.tokens:
            claims = {"id": user, "role": role, "exp": int(time.time()) + 600}
            self.tokens[user, role] = jwt.encode(claims, SECRET, "HS256")
        headers = {"Authorization": "Bearer " + self.tokens[user, role]} | more.pop("headers", {})
        return self.http.request(method, path, headers=headers, **more)

    def post(self, path: str, body: Any, user: str = "shop", role: str = "service", status: int = 200) -> Any:
        self.count += 1
        key = {"Idempotency-Key": f"key-{self.count}"}
        answer = self.request("POST", path, user, role, json=body, headers=key)
        assert answer.status_code == status, (path, body, answer.text)
        self.position = answer.headers.get("Ledger-Position", self.position)
        return answer.json().get("data")

    def read(self, path: str, user: str = "shop", role: str = "service", **params: Any) -> Any:
        answer = self.request("GET", path, user, role, params={"minPosition": self.position} | params)
        assert answer.status_code == 200, (path, params, answer.text)
        return answer.json()

    def all_of(self, path: str, key: str, user: str, role: str = "buyer", **params: Any) -> list[Any]:
        """A whole list, page by page by cursor, oldest first."""
        rows: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            answer = self.read(path, user, role, sortOrder="asc", limit=50, **params, **cursor)
            rows += answer["data"][key] if key else answer["data"]
            if answer["meta"]["nextCursor"] is None:
                return rows
            cursor = {"after": answer["meta"]["nextCursor"]}

    # ── what members do ───────────────────────────────────────────────────────────────────────────────────────

    def join(self, user: str, referrer: str | None) -> None:
        known = user in self.book.people
        body = {"userId": user, "name": f"Member {user}"}
        if referrer is not None:
            body["referralCode"] = self.code_of(referrer)
        self.post("/api/members", body, status=200 if known else 201)
        self.book.people.setdefault(user, Person(f"Member {user}"))
        if referrer is not None:
            self.book.people[user].referrer = referrer
            self.book.people[referrer].brought.append(user)

    def code_of(self, user: str) -> str:
        """Sometimes another one: all of them lead to the member."""
        person = self.book.people[user]
        old, force = person.code, self.chance.random() < 0.2
        body = {"force": True} if force else {}
        code = self.post("/api/points/generate-referral-code", body, user, "buyer")["referralCode"]
        assert old is None or (code == old) != force
        person.code = code
        return old or code

    def earn(self, user: str, month: int) -> None:
        chance, book = self.chance, self.book
        source = chance.choice(["bonus", "bonus", "purchase", "review", "referral"])
        reference, amount = f"{source}-{self.count}", chance.randint(1, 400)
        occurred = self.start - timedelta(days=400 - 33 * month, hours=chance.randint(1, 600))
        body = {"userId": user, "source": source, "reference": reference, "occurredAt": occurred.isoformat()}
        if source == "review":
            amount = book.programme.review
        else:
            body["amount"] = amount
        deadline: Any = "default"
        if chance.random() < 0.7:
            deadline = chance.choice(
                [None, occurred + timedelta(days=5), self.start + timedelta(days=3), self.start + timedelta(days=40)]
            )
            body["expiresAt"] = None if deadline is None else deadline.isoformat()
        if chance.random() < 0.2:
            item = {"key": f"item-{self.count}", "type": "earn", **body}
            self.post("/api/points/batch", {"atomic": True, "items": [item]})
        else:
            self.post("/api/points/earn", body, status=201)
            assert (
                self.request(
                    "POST", "/api/points/earn", json=body, headers={"Idempotency-Key": f"again-{self.count}"}
                ).json()["error"]
                == "ALREADY_EARNED"
            )
        book.claimed.add((user, source, reference))
        book.add(user, amount, ("earn", source), reference, deadline, occurred=occurred)

    def adjust(self, user: str) -> None:
        amount = self.chance.randint(-300, 200) or 1
        refused = amount + self.book.available(user) < 0
        body = {"userId": user, "amount": amount, "reason": "Adjusted"}
        self.post("/api/points/admin/add", body, "root", "admin", status=400 if refused else 200)
        if amount > 0:
            self.book.add(user, amount, ("admin_grant", "admin"), None, None)
        elif not refused:
            self.book.take(user, -amount, ("admin_deduct", "admin"))

    def buy(self, user: str) -> None:
        chance, book = self.chance, self.book
        name, currency = f"p{self.count}", chance.choice(list(DECIMALS))
        decimals = DECIMALS[currency]
        price = chance.choice([1, chance.randint(1, 600 * 10**decimals), chance.randint(1, 10 * 10**decimals)])
        seller = chance.choice([other for other in book.people if other != user])
        body = {"purchaseRequestId": name, "buyerId": user, "sellerId": seller, "price": money(price, currency)}
        self.post("/api/purchases", body, status=201)
        book.purchases[name] = Purchase(user, seller, price, currency)
        if chance.random() < 0.1:
            self.post(
                "/api/points/earn", {"userId": user, "amount": 7, "source": "purchase", "reference": name}, status=201
            )
            book.claimed.add((user, "purchase", name))
            book.add(user, 7, ("earn", "purchase"), name, "default")
        for _ in range(chance.randint(0, 2)):
            self.redeem(name, chance.randint(1, 600))
        self.go_on(name, chance.choice([*STEPS, "completed", "completed", "completed", "cancelled", "cancelled"]))

    def redeem(self, name: str, points: int) -> None:
        status, error, taken, minor = self.book.redemption(name, points)
        wanted = self.book.purchases[name]
        body = {"pointsToUse": points, "purchaseRequestId": name}
        answer = self.request("POST", "/api/points/redeem", wanted.buyer, "buyer", json=body)
        assert (answer.status_code, answer.json().get("error", "")) == (status, error), (answer.text, points)
        if status == 200:
            self.position = answer.headers["Ledger-Position"]
            self.book.redeem(name, taken, minor)
            data = answer.json()["data"]
            assert (data["discount"]["creditMinor"], data["transaction"]["amount"]) == (minor, taken)
            assert data["remainingPoints"] == self.book.available(wanted.buyer)

    def go_on(self, name: str, to: str) -> None:
        """Step by step; a cancellation comes after some of the steps before `delivered`."""
        steps = STEPS[1 : STEPS.index(to) + 1] if to in STEPS else [*STEPS[1 : self.chance.randint(1, 4)], "cancelled"]
        for status in steps:
            self.post(f"/api/purchases/{name}/status", {"status": status})
            self.book.step(name, status)

    def change_the_programme(self) -> None:
        self.replace_programme(
            pointsPerUnit="1.5",
            pointsPerCreditUnit=60,
            expiryDays=450,
            referralReward=350,
            reviewReward=25,
            timezone=NEW_YORK,
        )
        new = self.book.programme
        new.rate, new.points_for_one, new.expiry_days, new.reward, new.review = Fraction(3, 2), 60, 450, 350, 25

    def replace_programme(self, **changes: Any) -> int:
        """These fields of it; the version it has then."""
        seen = self.request("GET", PROGRAMME, "root", "admin")
        body = seen.json()["data"] | changes
        version = {"If-Match": seen.headers["ETag"]}
        done = self.request("PUT", PROGRAMME, "root", "admin", json=body, headers=version)
        assert done.status_code == 200, done.text
        self.position = done.headers["Ledger-Position"]
        return int(seen.headers["ETag"].strip('"')) + 1


def money(minor: int, currency: str) -> dict[str, str]:
    decimals = DECIMALS[currency]
    whole, rest = divmod(minor, 10**decimals)
    return {"amount": f"{whole}.{rest:0{decimals}}" if decimals else str(whole), "currency": currency}
