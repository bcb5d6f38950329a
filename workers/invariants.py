"""The watch over the invariants: asked by the clock, told loudly when one is broken.

May import: `ledger`, `projections`, structlog. Read next: `../projections/invariants.py`.
"""

from typing import Any

import structlog

from projections.invariants import check_invariants

log = structlog.get_logger("worker")


async def watch_invariants(ctx: dict[str, Any]) -> None:
    """Ask them all. Nothing is mended here: a broken invariant is for a person."""
    for name in await check_invariants(ctx["pool"]):
        log.critical("invariant_broken", invariant=name, see="GET /api/admin/integrity")
