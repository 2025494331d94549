"""end-1: `GET /v2/` says that this is a registry; and `/`, the plain sign of life."""

from __future__ import annotations

from cargohold.http.call import Call
from cargohold.http.replies import Reply
from cargohold.registry.plane import Plane
from cargohold.registry.render import JSON


async def base(plane: Plane, call: Call) -> Reply:
    return Reply(200, [JSON], b"{}")


async def root(plane: Plane, call: Call) -> Reply:
    return Reply(200, [(b"Cache-Control", b"no-cache")])
