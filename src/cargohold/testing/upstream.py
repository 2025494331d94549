"""A registry in a thread, to pull from: serves images, asks for tokens when told to, and fails on demand.

    with Upstream() as upstream:
        upstream.add("library/alpine", image(), "3.20")
        upstream.fail("/manifests/", Status(429, retry_after=1), times=2)
        ... upstream.url, upstream.requests

A fault is for requests whose path holds the given text, and goes away after so many times. Listens on loopback, on a free port.
Reads only: /v2/, manifests, blobs (with Range), tags. Written on the standard library's server alone: it shares no code with ours.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from cargohold.names import Digest
from cargohold.testing.image import Blob, Image

_ROUTE = re.compile(r"/v2/(?P<repository>.+)/(?P<noun>manifests|blobs|tags)/(?P<reference>[^/]+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True)
class Status:
    """An error instead of the answer."""

    status: int
    retry_after: int | None = None


@dataclass(frozen=True)
class Cut:
    """The connection closes after so many bytes of the body, all of which were announced."""

    after: int = 0


@dataclass(frozen=True)
class Lie:
    """The body has one bit changed; headers tell the true digest and length."""


@dataclass(frozen=True)
class Slow:
    """The answer comes so many seconds late."""

    seconds: float


Fault = Status | Cut | Lie | Slow


@dataclass
class Planned:
    path: str
    fault: Fault
    times: int


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Upstream:
    def __init__(self, *, credentials: tuple[str, str] | None = None, realm: str | None = None) -> None:
        """With `credentials` a token is needed, which its own /token gives for them; `realm` names another place for it."""
        self.credentials, self.realm = credentials, realm
        self.requests: list[Seen] = []
        self._contents: dict[tuple[str, str, str], tuple[bytes, str]] = {}
        self._tags: dict[str, list[str]] = {}
        self._faults: list[Planned] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"upstream": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, repository: str, image: Image, tag: str | None = None) -> Digest:
        for part in image.everything():
            for item in part.blobs:
                self.add_blob(repository, item)
            self._contents[repository, "manifests", part.digest] = (part.body, part.media_type)
        if tag is not None:
            self._contents[repository, "manifests", tag] = (image.body, image.media_type)
            self._tags.setdefault(repository, []).append(tag)
        return image.digest

    def add_blob(self, repository: str, item: Blob) -> None:
        self._contents[repository, "blobs", item.digest] = (item.content, "application/octet-stream")

    def remove(self, repository: str, reference: str) -> None:
        """A tag or a manifest is gone."""
        self._contents.pop((repository, "manifests", reference), None)
        if reference in self._tags.get(repository, []):
            self._tags[repository].remove(reference)

    def fail(self, path: str, fault: Fault, *, times: int = 1) -> None:
        with self._lock:
            self._faults.append(Planned(path, fault, times))

    def fault_for(self, path: str) -> Fault | None:
        with self._lock:
            for planned in self._faults:
                if planned.times > 0 and planned.path in path:
                    planned.times -= 1
                    return planned.fault
        return None

    def answer(self, seen: Seen) -> Answer:
        parts = urlsplit(seen.path)
        if parts.path == "/token":
            return self._token(seen, parse_qs(parts.query))
        match = _ROUTE.fullmatch(parts.path)
        if self.credentials and seen.headers.get("authorization") != f"Bearer {self._secret()}":
            return self._challenge(match)
        if parts.path == "/v2/":
            return Answer(200, b"{}", {"Content-Type": "application/json"})
        if match is None:
            return _error(404, "NAME_UNKNOWN")
        repository, noun, reference = match.group("repository", "noun", "reference")
        if noun == "tags":
            tags = sorted(self._tags.get(repository, []))
            return Answer(200, json.dumps({"name": repository, "tags": tags}).encode(), {"Content-Type": "application/json"})
        found = self._contents.get((repository, noun, reference))
        if found is None:
            return _error(404, "MANIFEST_UNKNOWN" if noun == "manifests" else "BLOB_UNKNOWN")
        return _ranged(*found, reference, seen.headers.get("range", ""))

    def _secret(self) -> str:
        return base64.urlsafe_b64encode(":".join(self.credentials or ()).encode()).decode().rstrip("=")

    def _token(self, seen: Seen, query: dict[str, list[str]]) -> Answer:
        given = seen.headers.get("authorization", "")
        if self.credentials and given != "Basic " + base64.b64encode(":".join(self.credentials).encode()).decode():
            return _error(401, "UNAUTHORIZED")
        body = {"token": self._secret(), "access_token": self._secret(), "expires_in": 300, "scope": " ".join(query.get("scope", []))}
        return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _challenge(self, match: re.Match[str] | None) -> Answer:
        scope = f',scope="repository:{match["repository"]}:pull"' if match else ""
        refused = _error(401, "UNAUTHORIZED")
        refused.headers["WWW-Authenticate"] = f'Bearer realm="{self.realm or self.url + "/token"}",service="upstream"{scope}'
        return refused


def _ranged(content: bytes, media_type: str, reference: str, wanted: str) -> Answer:
    digest = reference if ":" in reference else Digest.of(content)
    headers = {"Content-Type": media_type, "Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
    match = _RANGE.fullmatch(wanted)
    if match is None:
        return Answer(200, content, headers)
    first, last = int(match[1]), min(int(match[2] or len(content)), len(content) - 1)
    if first >= len(content):
        return Answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
    return Answer(206, content[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(content)}"})


def _error(status: int, code: str) -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": f"the upstream says {code}"}]}).encode()
    return Answer(status, body, {"Content-Type": "application/json"})


class _Handler(BaseHTTPRequestHandler):
    upstream: Upstream
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        seen = Seen(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        self.upstream.requests.append(seen)
        fault = self.upstream.fault_for(self.path)
        if isinstance(fault, Slow):
            time.sleep(fault.seconds)
        answer = self.upstream.answer(seen)
        if isinstance(fault, Status):
            answer = _error(fault.status, "TOOMANYREQUESTS" if fault.status == 429 else "UNKNOWN")
            if fault.retry_after is not None:
                answer.headers["Retry-After"] = str(fault.retry_after)
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        body = answer.body
        if isinstance(fault, Lie) and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        if isinstance(fault, Cut):
            body, self.close_connection = body[: fault.after], True
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: `Upstream.requests` has them."""
