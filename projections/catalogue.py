"""The list of read models. A new one is a file with its tables, fold and queries, and a line here.

Read next: `projection.py`.
"""

from typing import Final

from ledger.errors import ReadModelNotFound
from projections.audit_trail import AuditTrail
from projections.disputes import Disputes
from projections.journal import Journal
from projections.leaderboard import Leaderboard
from projections.payments import Payments
from projections.points import Points
from projections.projection import Projection
from projections.purchases import Purchases
from projections.referrals import Referrals
from projections.room_events import RoomEvents
from projections.suspense import Suspense
from projections.transactions import Transactions
from projections.webhook_letters import WebhookLetters

PROJECTIONS: Final[tuple[Projection, ...]] = (
    AuditTrail(),
    Points(),
    Transactions(),
    Purchases(),
    Referrals(),
    Leaderboard(),
    Payments(),
    Disputes(),
    Suspense(),
    WebhookLetters(),
    RoomEvents(),
    Journal(),
)


def projection_named(name: str) -> Projection:
    """The read model of that name, or `ReadModelNotFound`."""
    for projection in PROJECTIONS:
        if projection.name == name:
            return projection
    known = ", ".join(projection.name for projection in PROJECTIONS)
    raise ReadModelNotFound(f"No read model {name}; there are {known}.")
