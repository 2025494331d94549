"""What every handler of the data plane gets: the store, who may do what, and where things are.

Answers are relative: `Location` and `Link` are paths, so the registry works behind any proxy (design invariant 11). With
`http.host`, or `http.relativeurls: false`, they are absolute as registry:2 makes them.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from cargohold.auth.identity import Actor
from cargohold.config.settings import Settings
from cargohold.content.store import Store
from cargohold.errors import DigestInvalid, ManifestInvalid, NameInvalid, UploadUnknown
from cargohold.http.call import Call
from cargohold.names import Digest, Malformed, Reference, RepoName, UploadId, parse_reference


class Plane:
    def __init__(self, store: Store, settings: Settings) -> None:
        self.store, self.settings = store, settings
        self._prefix = settings.http.prefix.rstrip("/")
        self._host = settings.http.host.rstrip("/")

    def location(self, call: Call, path: str) -> bytes:
        """`path` starts with /v2/."""
        if self._host:
            return f"{self._host}{self._prefix}{path}".encode()
        if self.settings.http.relativeurls:
            return f"{self._prefix}{path}".encode()
        scheme = _first(call.header(b"x-forwarded-proto")) or call.scheme
        host = _first(call.header(b"x-forwarded-host")) or call.header(b"host") or ""
        return f"{scheme}://{host}{self._prefix}{path}".encode()


def actor(call: Call) -> Actor:
    """Who asks; dispatch has seen to it before any handler runs."""
    assert isinstance(call.actor, Actor)
    return call.actor


def query(call: Call) -> dict[str, str]:
    """The query's keys; of a repeated one the first counts."""
    if not call.query:
        return {}
    found: dict[str, str] = {}
    for key, value in parse_qsl(call.query, keep_blank_values=True, errors="replace"):
        found.setdefault(key, value)
    return found


def mark_of(asked: dict[str, str]) -> str:
    """`last`: the list goes on behind it. No name holds a NUL, so what stands before one sorts the same."""
    return asked.get("last", "").partition("\0")[0]


def digest_of(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except Malformed as error:
        raise DigestInvalid(f"digest: {error}", digest=text) from None


def repository_of(text: str) -> RepoName:
    try:
        return RepoName.parse(text)
    except Malformed as error:
        raise NameInvalid(str(error), name=text) from None


def reference_of(text: str) -> Reference:
    """A digest that is none is DIGEST_INVALID; a tag that is none is MANIFEST_INVALID, the code that every client knows."""
    if ":" in text:
        return digest_of(text)
    try:
        return parse_reference(text)
    except Malformed as error:
        raise ManifestInvalid(str(error), reference=text) from None


def upload_of(text: str) -> UploadId:
    try:
        return UploadId.parse(text)
    except Malformed:
        raise UploadUnknown(upload=text) from None


def matches(call: Call, digest: Digest) -> bool:
    """`If-None-Match` names this digest: quoted or not, weak or not, or `*`."""
    if call.header(b"if-none-match") is None:
        return False
    for item in call.header_list(b"if-none-match"):
        if item == "*" or item.removeprefix("W/").strip('"') == digest:
            return True
    return False


def etag(digest: Digest) -> bytes:
    return f'"{digest}"'.encode()


def _first(header: str | None) -> str:
    return header.partition(",")[0].strip() if header else ""
