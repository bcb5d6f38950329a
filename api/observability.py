"""What the process tells about itself: the metrics that `GET /metrics` shows.

prometheus-client. With several processes set `PROMETHEUS_MULTIPROC_DIR`, as prometheus-client asks for.
Read next: `routes/metrics.py`.
"""

import os
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

BUCKETS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

REGISTRY: Final = CollectorRegistry()
REQUESTS: Final = Counter(
    "ledger_http_requests", "Requests by method, route and status.", ("method", "route", "status"), registry=REGISTRY
)
REQUEST_SECONDS: Final = Histogram(
    "ledger_http_request_seconds",
    "Time from request to answer.",
    ("route",),
    registry=REGISTRY,
    buckets=BUCKETS_SECONDS,
)
RATE_LIMITED: Final = Counter("ledger_rate_limited", "Requests refused by a rate limit.", ("tier",), registry=REGISTRY)
UNLIMITED: Final = Counter(
    "ledger_rate_limit_unavailable", "Requests let through uncounted because Redis was away.", registry=REGISTRY
)
FLUSHES: Final = Gauge("ledger_committer_flushes", "Appends made.", registry=REGISTRY, multiprocess_mode="sum")
COMMANDS: Final = Gauge("ledger_committer_commands", "Commands decided.", registry=REGISTRY, multiprocess_mode="sum")
CONFLICTS: Final = Gauge(
    "ledger_committer_conflicts", "Commands decided again.", registry=REGISTRY, multiprocess_mode="sum"
)
SENT_AHEAD: Final = Gauge(
    "ledger_committer_sent_ahead",
    "Appends sent before the one in front of them was answered.",
    registry=REGISTRY,
    multiprocess_mode="sum",
)
RESENT: Final = Gauge("ledger_committer_resent", "Appends sent again.", registry=REGISTRY, multiprocess_mode="sum")
WAITING: Final = Gauge(
    "ledger_committer_waiting", "Commands in the queue.", registry=REGISTRY, multiprocess_mode="livesum"
)
KNOWN: Final = Gauge(
    "ledger_committer_position", "Position this process knows of.", registry=REGISTRY, multiprocess_mode="max"
)

_children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count one request. `route` is the template, never the path: paths are without number."""
    children = _children.get((method, route, status))
    if children is None:
        children = (REQUESTS.labels(method, route, str(status)), REQUEST_SECONDS.labels(route))
        _children[method, route, status] = children
    children[0].inc()
    children[1].observe(seconds)


def rendered_metrics() -> bytes:
    """All metrics in Prometheus' text format; those of all processes where there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # untyped there
    return generate_latest(registry)
