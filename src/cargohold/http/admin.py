"""The second address (`admin.addr`): /metrics, /healthz, /readyz. A process of its own, so that it never takes time from the data plane
and still answers when every worker is stuck. No authentication: bind it to loopback or a private network.

    GET /healthz   200 {"status": "ok"}                          this server's processes are alive
    GET /readyz    200 {"status": "ready"}                       every worker serves
                   503 {"status": "not ready", "reasons": [...]} otherwise, and from the first SIGTERM on
    GET /metrics   the sum over all workers, Prometheus text format

Callers: supervisor.py.
"""

from __future__ import annotations

import msgspec

from cargohold.http.call import Call
from cargohold.http.replies import Reply, error_reply
from cargohold.http.scoreboard import Scoreboard
from cargohold.http.server import MakeWorkerApp, Seat
from cargohold.telemetry.exposition import CONTENT_TYPE, render

_JSON = (b"Content-Type", b"application/json")
_FRESH = (b"Cache-Control", b"no-store")


class AdminApp:
    inline = True

    def __init__(self, scoreboard: Scoreboard, folder: str, metrics_path: str) -> None:
        self._scoreboard, self._folder, self._metrics_path = scoreboard, folder, metrics_path

    async def start(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to close."""

    def ready(self) -> str:
        return ""

    async def endpoint(self, call: Call) -> Reply:
        call.route = "admin"
        if call.method not in ("GET", "HEAD"):
            return error_reply(405, "UNSUPPORTED", "Only GET and HEAD here", headers=[(b"Allow", b"GET, HEAD")])
        if self._metrics_path and call.path == self._metrics_path:
            return Reply(200, [(b"Content-Type", CONTENT_TYPE.encode())], render(self._folder))
        if call.path == "/healthz":
            return _told(200, {"status": "ok"})
        if call.path == "/readyz":
            reasons = self._scoreboard.trouble()
            return _told(503, {"status": "not ready", "reasons": reasons}) if reasons else _told(200, {"status": "ready"})
        return error_reply(404, "NAME_UNKNOWN", f"This address has {self._metrics_path}, /healthz and /readyz")


def _told(status: int, facts: dict[str, object]) -> Reply:
    return Reply(status, [_JSON, _FRESH], msgspec.json.encode(facts) + b"\n")


def admin_app(scoreboard: Scoreboard, folder: str, metrics_path: str) -> MakeWorkerApp:
    """`metrics_path`: where the metrics are, `admin.metrics_path`; empty: nowhere."""

    async def make(seat: Seat) -> AdminApp:
        return AdminApp(scoreboard, folder, metrics_path)

    return make
