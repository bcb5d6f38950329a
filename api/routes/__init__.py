"""Every route of the service, one file a noun. Read next: `points.py`."""

from typing import Final

from litestar.handlers import HTTPRouteHandler

from api.commands import LeanRoute
from api.routes import (
    batch,
    dispute_reads,
    disputes,
    docs,
    expiring,
    health,
    instructions,
    journal_export,
    journal_reads,
    leaderboard,
    levels,
    members,
    metrics,
    payment_export,
    payment_reads,
    payments,
    points,
    purchase_reads,
    purchases,
    redemptions,
    referral_reads,
    referrals,
    webhooks,
)
from api.routes.admin import accounts, events, integrity, programme, read_models, suspense, suspense_reads
from api.routes.admin import points as admin_points

ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (
    *health.ROUTES,
    *docs.ROUTES,
    *metrics.ROUTES,
    *points.ROUTES,
    *expiring.ROUTES,
    *levels.ROUTES,
    *batch.ROUTES,
    *redemptions.ROUTES,
    *referrals.ROUTES,
    *referral_reads.ROUTES,
    *leaderboard.ROUTES,
    *members.ROUTES,
    *purchases.ROUTES,
    *purchase_reads.ROUTES,
    *payments.ROUTES,
    *payment_reads.ROUTES,
    *payment_export.ROUTES,
    *instructions.ROUTES,
    *webhooks.ROUTES,
    *disputes.ROUTES,
    *dispute_reads.ROUTES,
    *journal_export.ROUTES,
    *journal_reads.ROUTES,
    *admin_points.ROUTES,
    *suspense.ROUTES,
    *integrity.ROUTES,
    *suspense_reads.ROUTES,
    *accounts.ROUTES,
    *programme.ROUTES,
    *events.ROUTES,
    *read_models.ROUTES,
)

LEAN_ROUTES: Final[tuple[LeanRoute, ...]] = (points.EARN.lean, batch.LEAN)
"""Also among `ROUTES`: served past Litestar because they carry the load."""
