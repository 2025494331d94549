"""Requests made up by hypothesis for every operation of the API: well-formed HTTP, any content.

What comes back is a status below 500; a refusal has the OCI error body with a code of the table; a manifest that was
accepted is there byte for byte. Examples that failed once are tried first the next time (.hypothesis/).
"""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.house.test_errors import CODES
from tests.program import Program

pytestmark = pytest.mark.xdist_group("bad-input")

EXAMPLES = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = "sha256:" + hashlib.sha256(b"").hexdigest()


class Client:
    """One connection that is opened anew when the server closed it."""

    def __init__(self, port: int) -> None:
        self.line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        try:
            return self._ask(method, path, body, headers or {})
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.line.close()
            return self._ask(method, path, body, headers or {})

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        self.line.request(method, path, body, headers)
        reply = self.line.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()


@pytest.fixture
def client(server: Program) -> Iterator[Client]:
    someone = Client(server.port)
    yield someone
    someone.line.close()


def is_sound(method: str, status: int, body: bytes) -> None:
    assert 200 <= status < 500, (status, body)
    if status >= 400 and method != "HEAD":
        errors = json.loads(body)["errors"]
        assert errors
        for error in errors:
            assert error["code"] in CODES, error
            assert error["message"]


def escaped(text: str) -> str:
    return quote(text, safe="/:@!$&'()*+,;=~")


NAMES = st.one_of(st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9._-]{1,8}){0,3}", fullmatch=True), st.text(min_size=1, max_size=40))
DIGESTS = st.one_of(
    st.just(EMPTY),
    st.binary(max_size=4).map(lambda data: "sha256:" + hashlib.sha256(data).hexdigest()),
    st.binary(max_size=4).map(lambda data: "sha512:" + hashlib.sha512(data).hexdigest()),
    st.text(max_size=80),
    st.from_regex(r"(sha256|sha384|sha512|md5):[0-9a-fA-F]{0,130}", fullmatch=True),
)
REFERENCES = st.one_of(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True), DIGESTS, st.text(min_size=1, max_size=140))
UPLOADS = st.one_of(st.uuids().map(str), st.text(max_size=40))
NUMBERS = st.one_of(st.integers().map(str), st.text(max_size=10))
PATHS = st.one_of(
    st.just("/v2/"),
    st.builds("/v2/_catalog?n={}&last={}".format, NUMBERS.map(quote), NAMES.map(quote)),
    st.builds("/v2/{}/tags/list?n={}&last={}".format, NAMES.map(escaped), NUMBERS.map(quote), REFERENCES.map(quote)),
    st.builds("/v2/{}/manifests/{}".format, NAMES.map(escaped), REFERENCES.map(escaped)),
    st.builds("/v2/{}/blobs/{}".format, NAMES.map(escaped), DIGESTS.map(escaped)),
    st.builds("/v2/{}/referrers/{}?artifactType={}".format, NAMES.map(escaped), DIGESTS.map(escaped), NAMES.map(quote)),
    st.builds("/v2/{}/blobs/uploads/".format, NAMES.map(escaped)),
    st.builds("/v2/{}/blobs/uploads/?digest={}".format, NAMES.map(escaped), DIGESTS.map(quote)),
    st.builds("/v2/{}/blobs/uploads/?mount={}&from={}".format, NAMES.map(escaped), DIGESTS.map(quote), NAMES.map(quote)),
    st.builds("/v2/{}/blobs/uploads/{}?digest={}".format, NAMES.map(escaped), UPLOADS.map(escaped), DIGESTS.map(quote)),
    st.text(max_size=60).map(lambda text: "/v2/" + escaped(text)),
)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60).map(str.strip)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Accept", "Content-Type", "Content-Range", "Range", "If-None-Match", "If-Match", "If-Range", "Authorization", "User-Agent"]
    ),
    st.one_of(VALUES, st.builds("bytes={}-{}".format, NUMBERS.filter(str.isascii), st.integers())),
    max_size=4,
).map(lambda found: {name: value for name, value in found.items() if "\n" not in value and "\r" not in value})
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"])


@EXAMPLES
@given(method=METHODS, path=PATHS, headers=HEADERS, body=st.binary(max_size=200))
def test_any_request_gets_an_answer_in_the_right_shape(
    client: Client, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    status, _, answer = client.ask(method, path, body if method in ("PUT", "POST", "PATCH") else None, headers)
    is_sound(method, status, answer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
DESCRIPTORS = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": st.sampled_from([MANIFEST, INDEX, "application/vnd.oci.empty.v1+json", "x/y"]) | JSON,
        "digest": DIGESTS | JSON,
        "size": st.integers() | JSON,
        "urls": st.lists(st.text(max_size=20), max_size=2) | JSON,
        "annotations": st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3) | JSON,
        "platform": JSON,
        "data": st.text(max_size=9) | JSON,
        "artifactType": st.text(max_size=9) | JSON,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"schemaVersion": st.just(2) | JSON},
    optional={
        "mediaType": st.sampled_from([MANIFEST, INDEX]) | JSON,
        "artifactType": st.text(max_size=12) | JSON,
        "config": DESCRIPTORS | JSON,
        "layers": st.lists(DESCRIPTORS, max_size=3) | JSON,
        "manifests": st.lists(DESCRIPTORS, max_size=3) | JSON,
        "subject": DESCRIPTORS | JSON,
        "annotations": st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3) | JSON,
    },
)
BODIES = st.one_of(
    DOCUMENTS.map(lambda found: json.dumps(found).encode()), JSON.map(lambda found: json.dumps(found).encode()), st.binary(max_size=300)
)


@EXAMPLES
@given(body=BODIES, kind=st.sampled_from([MANIFEST, INDEX, "application/json", "", "x/y"]), tag=REFERENCES.map(escaped))
def test_any_manifest_is_refused_or_kept_as_it_came(client: Client, body: bytes, kind: str, tag: str) -> None:
    path = f"/v2/any/manifest/manifests/{tag}"
    status, headers, answer = client.ask("PUT", path, body, {"Content-Type": kind} if kind else {})
    is_sound("PUT", status, answer)
    if status == 201:
        assert headers["docker-content-digest"].startswith(("sha256:", "sha512:"))
        status, _, kept = client.ask("GET", f"/v2/any/manifest/manifests/{headers['docker-content-digest']}")
        assert (status, kept) == (200, body)


DEEP = [
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"[" * 200_000,
    b'{"schemaVersion":2,"mediaType":"' + INDEX.encode() + b'","manifests":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"schemaVersion":2,"mediaType":"' + INDEX.encode() + b'","manifests":[' + b",".join([b"{}"] * 100_000) + b"]}",
    b'{"schemaVersion":' + b"9" * 100_000 + b"}",
    b'{"schemaVersion":1e400,"size":-0.0e-999}',
    b'{"schemaVersion":2,"schemaVersion":2,"manifests":[],"manifests":{}}',
    b'{"schemaVersion":2,"a":"\\ud800"}',
    b"\xef\xbb\xbf{}",
    b"\x00" * 1000,
    b"",
    b"null",
    b" " * (4 << 20),
    b"{" + b" " * (5 << 20) + b"}",
]


@pytest.mark.parametrize("body", DEEP, ids=lambda body: f"{body[:30]!r}-{len(body)}")
def test_a_manifest_that_is_a_bomb_is_refused(client: Client, body: bytes) -> None:
    status, _, answer = client.ask("PUT", "/v2/any/bomb/manifests/1", body, {"Content-Type": INDEX})
    is_sound("PUT", status, answer)
    assert status in (400, 413)
