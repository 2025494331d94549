"""Logs and metrics: the only place that names log fields and metrics.

    from cargohold.telemetry import log, metrics
    log.warning("what happened", digest=..., repository=...)
    metrics.storage_errors.add("filesystem", "put")

logs.py sets up structlog (`set_up`), scrub.py takes secrets out of every line, access.py writes the access log, metrics.py counts,
exposition.py makes the text of /metrics.
"""

from __future__ import annotations

from cargohold.telemetry import metrics
from cargohold.telemetry.logs import log, request_id, request_scope, set_up

__all__ = ["log", "metrics", "request_id", "request_scope", "set_up"]
