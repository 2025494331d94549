"""From a raw path to one handler: the routes of `/v2/`, the one question of authorisation, the rendering of refusals.

    path --normalise--> locate --> operation --> admit(call, wanted rights)? --> handler --> reply
                           |          |             `--no--> 401 or 403 with the challenge
                           `--404     `--405

Names may hold segments called blobs, manifests or tags: a path is read from its right end. Doubled and trailing slashes and
percent-encoding are undone here, never redirected: a redirect loses the body of a POST.
tests/matrix/ holds a row for every operation below; a new one without a row fails there.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import msgspec

from cargohold.auth.authenticator import Authenticator, admit
from cargohold.auth.permissions import CATALOG, Action, Want, repository, wants
from cargohold.errors import CargoholdError, NotFound, Unsupported
from cargohold.http.call import Call, ClientGone
from cargohold.http.replies import Reply
from cargohold.registry import blobs, catalog, manifests, ping, referrers, tags, uploads
from cargohold.registry.plane import Plane, repository_of
from cargohold.registry.render import error_reply
from cargohold.telemetry import log, metrics

_API_VERSION = (b"Docker-Distribution-Api-Version", b"registry/2.0")
_SLASHES = re.compile(r"//+")
_LONGEST_REMEMBERED = 512
"""Characters of a path that may be remembered: thousands of paths as long as a URL may be would fill the memory of a worker."""

LIST, PULL, PUSH, DELETE = (Action.LIST,), (Action.PULL,), (Action.PULL, Action.PUSH), (Action.DELETE,)

Handler = Callable[..., Awaitable[Reply]]


class Operation(msgspec.Struct, frozen=True):
    """What one method of a route does: its id, its handler, and the rights that it needs on the repository or the catalog."""

    id: str
    handler: Handler
    actions: tuple[Action, ...] = ()
    open: bool = False
    """Answered without credentials, whatever auth says."""


class Route(msgspec.Struct, frozen=True):
    name: str
    path: str
    operations: dict[str, Operation]


def _route(name: str, path: str, **operations: Operation) -> Route:
    found = dict(operations)
    if "GET" in found:
        found.setdefault("HEAD", found["GET"])
    return Route(name, path, found)


ROUTES = {
    route.name: route
    for route in (
        _route("root", "/", GET=Operation("root", ping.root, open=True)),
        _route("base", "/v2/", GET=Operation("ping", ping.base)),
        _route("catalog", "/v2/_catalog", GET=Operation("listRepositories", catalog.list_repositories, LIST)),
        _route("tags", "/v2/<name>/tags/list", GET=Operation("listTags", tags.list_tags, PULL)),
        _route(
            "manifest",
            "/v2/<name>/manifests/<reference>",
            GET=Operation("getManifest", manifests.get, PULL),
            PUT=Operation("putManifest", manifests.put, PUSH),
            DELETE=Operation("deleteManifest", manifests.delete, DELETE),
        ),
        _route(
            "blob",
            "/v2/<name>/blobs/<digest>",
            GET=Operation("getBlob", blobs.get, PULL),
            DELETE=Operation("deleteBlob", blobs.delete, DELETE),
        ),
        _route("uploads", "/v2/<name>/blobs/uploads/", POST=Operation("startUpload", uploads.start, PUSH)),
        _route(
            "upload",
            "/v2/<name>/blobs/uploads/<id>",
            GET=Operation("getUpload", uploads.status, PUSH),
            PATCH=Operation("appendUpload", uploads.append, PUSH),
            PUT=Operation("finishUpload", uploads.finish, PUSH),
            DELETE=Operation("cancelUpload", uploads.cancel, PUSH),
        ),
        _route("referrers", "/v2/<name>/referrers/<digest>", GET=Operation("listReferrers", referrers.list_referrers, PULL)),
    )
}

Place = tuple[Route, tuple[Any, ...]]


def locate(path: str) -> Place:
    """The route and its parts: (), (name,) or (name, reference as text). Raises NotFound and NameInvalid."""
    return _remembered(path) if len(path) <= _LONGEST_REMEMBERED else _locate(path)


def _locate(path: str) -> Place:
    if "%" in path:
        path = unquote(path)
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if path == "/":
        return ROUTES["root"], ()
    rest = path[1:].removesuffix("/")
    if rest == "v2":
        return ROUTES["base"], ()
    if not rest.startswith("v2/"):
        raise NotFound("there is no such path; the API of this registry lives below /v2/", path=path)
    if rest == "v2/_catalog":
        return ROUTES["catalog"], ()
    found = _in_repository(rest[3:])
    if found is None:
        raise NotFound("there is no such path below /v2/", path=path)
    return found


_remembered = lru_cache(maxsize=4096)(_locate)


def _in_repository(rest: str) -> Place | None:
    head, _, last = rest.rpartition("/")
    for ending, route in (("/manifests", "manifest"), ("/blobs/uploads", "upload"), ("/referrers", "referrers")):
        if head.endswith(ending):
            return ROUTES[route], (repository_of(head[: -len(ending)]), last)
    if head.endswith("/blobs"):
        name = repository_of(head[:-6])
        return (ROUTES["uploads"], (name,)) if last == "uploads" else (ROUTES["blob"], (name, last))
    if head.endswith("/tags") and last == "list":
        return ROUTES["tags"], (repository_of(head[:-5]),)
    return None


class Dispatch:
    """The endpoint of the data plane: one call in, one reply out, whatever happens in between."""

    def __init__(self, plane: Plane, authenticator: Authenticator) -> None:
        self._plane, self._auth = plane, authenticator
        self._prefix = plane.settings.http.prefix.rstrip("/")

    async def __call__(self, call: Call) -> Reply:
        try:
            reply = await self._answer(call)
        except CargoholdError as error:
            if error.status == 401 and call.header(b"authorization") is not None:
                metrics.auth_failures.add(self._plane.settings.auth.kind)
            if error.status >= 500:
                log.error("request refused", code=error.code, message=str(error), facts=error.facts)
            reply = error_reply(error)
        except ClientGone:
            reply = Reply(499, [])
        reply.headers.append(_API_VERSION)
        return reply

    async def _answer(self, call: Call) -> Reply:
        path = call.path
        if self._prefix and path.startswith(self._prefix + "/"):
            path = path[len(self._prefix) :]
        route, parts = locate(path)
        call.route = route.name
        operation = route.operations.get(call.method)
        if operation is None:
            return _other_method(call, route)
        if not operation.open:
            await admit(self._auth, call, _wanted(operation.actions, parts[0] if parts else None))
        return await operation.handler(self._plane, call, *parts)


@lru_cache(maxsize=4096)
def _wanted(actions: tuple[Action, ...], name: str | None) -> tuple[Want, ...]:
    return wants(CATALOG if name is None else repository(name), *actions)


def _other_method(call: Call, route: Route) -> Reply:
    allow = ", ".join(sorted({*route.operations, "OPTIONS"}))
    if call.method == "OPTIONS":
        return Reply(200, [(b"Allow", allow.encode())])
    raise Unsupported(f"{call.method} is not offered for {route.path}", allow=allow, method=call.method)
