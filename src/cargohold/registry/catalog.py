"""`GET /v2/_catalog`: the repositories, in the order and with the paging of registry:2."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec

from cargohold.content import tags
from cargohold.errors import PageSizeInvalid
from cargohold.http.call import Call
from cargohold.http.replies import Headers, Reply
from cargohold.registry.plane import Plane, mark_of, query
from cargohold.registry.render import JSON

_DEFAULT = 100


async def list_repositories(plane: Plane, call: Call) -> Reply:
    """n absent, negative or no number: 100 (registry:2); over the cap: 400 PAGINATION_NUMBER_INVALID."""
    asked = query(call)
    cap = plane.store.limits.catalog_page
    text = asked.get("n", "")
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else min(_DEFAULT, cap)
    if count > cap or (text.isascii() and text.isdigit() and len(text) >= 19):
        raise PageSizeInvalid(f"n is at most {cap}", n=text, limit=cap)
    names, more = await tags.catalog(plane.store, mark_of(asked), count) if count else ([], False)
    headers: Headers = [JSON]
    if more:
        headers.append(link(plane, call, "/v2/_catalog", {"last": names[-1], "n": str(count)}))
    return Reply(200, headers, msgspec.json.encode({"repositories": names}))


def link(plane: Plane, call: Call, path: str, keys: dict[str, str]) -> tuple[bytes, bytes]:
    """RFC 8288; resolved by clients against the URL that they asked."""
    return (b"Link", b"<" + plane.location(call, path) + b"?" + urlencode(keys).encode() + b'>; rel="next"')
