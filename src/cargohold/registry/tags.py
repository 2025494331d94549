"""end-8: `GET /v2/<name>/tags/list?n=&last=`, in byte order. Without n: all of them."""

from __future__ import annotations

import msgspec

from cargohold.content import tags
from cargohold.errors import PageSizeInvalid
from cargohold.http.call import Call
from cargohold.http.replies import Headers, Reply
from cargohold.names import RepoName
from cargohold.registry.catalog import link
from cargohold.registry.plane import Plane, mark_of, query
from cargohold.registry.render import JSON


async def list_tags(plane: Plane, call: Call, name: RepoName) -> Reply:
    asked = query(call)
    count: int | None = None
    if "n" in asked:
        if not (asked["n"].isascii() and asked["n"].isdigit()):
            raise PageSizeInvalid("n is a whole number, 0 or more", n=asked["n"])
        count = min(int(asked["n"][:12]), plane.store.limits.tags_page)
    found, more = await tags.page(plane.store, name, mark_of(asked), count)
    headers: Headers = [JSON]
    if more and found:
        headers.append(link(plane, call, f"/v2/{name}/tags/list", {"last": found[-1], "n": str(count)}))
    return Reply(200, headers, msgspec.json.encode({"name": str(name), "tags": found}))
