"""Which payments somebody is shown: whose, and which of them. List, statistics and export ask this one object.

So they show the same rows and come to the same totals, for every role. Imports `ledger` only.
Read next: `payments.py`, `payment_stats.py`, `payment_export.py`.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.domain.payment_events import EscrowState, PaymentStatus

# Recording times grow with positions: an instant is a position, and the index that filters also orders.
_SINCE: Final = (
    "t.opened >= coalesce((SELECT s.opened FROM {{main}} AS s WHERE s.created_at >= {} "
    "ORDER BY s.created_at, s.opened LIMIT 1), 9223372036854775807)"
)
_UNTIL: Final = (
    "t.opened < coalesce((SELECT u.opened FROM {{main}} AS u WHERE u.created_at >= {} "
    "ORDER BY u.created_at, u.opened LIMIT 1), 9223372036854775807)"
)


class PaymentScope(msgspec.Struct, frozen=True):
    """The payments of a party, buyer or seller, or all (None); of a status, an escrow state; opened in [from_, to).

    `from_` and `to` go by the time of recording.
    """

    party: str | None = None
    status: PaymentStatus | None = None
    escrow_state: EscrowState | None = None
    from_: datetime | None = None
    to: datetime | None = None

    def rows(self, first: int) -> tuple[str, list[Any]]:
        """`<source> AS t WHERE …` of a query, and its arguments, the first of which is number `first`.

        Only the filters that are given, so that each finds its index. Built from literals of this file.
        """
        arguments: list[Any] = []

        def given(value: Any) -> str:
            arguments.append(value)
            return f"${first + len(arguments) - 1}"

        source, tests = "{main}", ["true"]
        if self.party is not None:
            # Buyer and seller differ, so a payment is found by one side alone, each by an index in the lists' order.
            party = given(self.party)
            source = (
                f"(SELECT * FROM {{main}} WHERE buyer_id = {party} "
                f"UNION ALL SELECT * FROM {{main}} WHERE seller_id = {party})"
            )
        for test, value in (
            ("t.status = {}", self.status),
            ("t.escrow_state = {}", self.escrow_state),
            (_SINCE, self.from_),
            (_UNTIL, self.to),
        ):
            if value is not None:
                tests.append(test.format(given(value)))
        return f"{source} AS t WHERE {' AND '.join(tests)}", arguments
