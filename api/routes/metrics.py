"""Metrics for Prometheus, which sends a token as anybody else: behind a proxy every address looks like this machine.

Read next: `../observability.py`.
"""

from typing import Any, Final

from litestar import Request, Response, get

from api import observability
from api.call import call_of
from api.documented import Documented, opened_to
from api.queries import Nothing, read_query
from api.security import BACK_OFFICE

MEDIA_TYPE: Final = "text/plain; version=0.0.4"


@get(
    "/metrics",
    opt=opened_to(
        BACK_OFFICE,
        Documented(
            summary="Metrics in Prometheus' text format",
            tag="operations",
            answers={200: "The metrics of this process, or of all where `PROMETHEUS_MULTIPROC_DIR` is set."},
            media_type="text/plain",
            enveloped=False,
        ),
    ),
)
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """What the committer has counted is copied at this moment."""
    call = call_of(request)
    read_query(call, Nothing)
    committer = call.resources.committer
    observability.FLUSHES.set(committer.flushes)
    observability.COMMANDS.set(committer.commands)
    observability.CONFLICTS.set(committer.conflicts)
    observability.SENT_AHEAD.set(committer.sent_ahead)
    observability.RESENT.set(committer.resent)
    observability.WAITING.set(committer.waiting)
    observability.KNOWN.set(committer.known)
    return Response(observability.rendered_metrics(), media_type=MEDIA_TYPE)


ROUTES: Final = (metrics,)
