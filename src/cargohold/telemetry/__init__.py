"""Logs and metrics: the only place that names log fields and metrics.

logs.py sets up structlog and takes secrets out of every line, access.py writes the access log, metrics.py counts.
Everywhere else: `from cargohold.telemetry import log`, then `log.warning("what happened", digest=...)`.
"""

from __future__ import annotations

from cargohold.telemetry.logs import log, request_id, request_scope

__all__ = ["log", "request_id", "request_scope"]
