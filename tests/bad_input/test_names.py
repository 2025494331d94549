"""Names that try to leave their place: traversal, encodings of it, NUL, unicode, names of our own folders, sizes.

Each text is tried as repository, tag, digest, upload id and query, with every method. It is refused (4xx) or is an ordinary
name; nothing appears beside the data folder, and inside it nothing but names of the grammar.
"""

from __future__ import annotations

import re

import pytest

from tests.bad_input.conftest import faults
from tests.bad_input.wire import Heard, request, speak_many
from tests.program import Program

pytestmark = pytest.mark.xdist_group("bad-input")

DIGEST = "sha256:" + "b" * 64
EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
UPLOAD = "0f0f0f0f-0000-4000-8000-0f0f0f0f0f0f"
METHODS = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"]

STEPS = [
    "..",
    "../..",
    "../../../../../../../../etc/passwd",
    "a/../../b",
    ".",
    "./a",
    "/etc/passwd",
    "//etc",
    "a//b",
    "..a",
    "a..",
    "a/.",
    "..;/a",
]
ENCODED = [
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2f",
    "..%2f..%2fsecret",
    "%2e%2e/%2e%2e/secret",
    "%252e%252e%252f",
    "..%5c..%5c",
    "%c0%ae%c0%ae/",
    "%2fetc%2fpasswd",
]
BYTES = [
    "%00",
    "a%00b",
    "a%0a",
    "a%0d%0aX-Injected:%20yes",
    "%ff%fe",
    "a%20b",
    "%7f",
    "%e2%80%ae",
    "%f0%9f%90%b3",
    "%E4%BD%A0",
    "%",
    "%z",
    "a%2",
]
OURS = [
    "_cargohold",
    "_uploads",
    "a/_layers",
    "a/_manifests/tags",
    "a/_uploads/x",
    "docker/registry/v2",
    "_catalog",
    "blobs",
    "uploads",
    "tags/list",
]
SHAPES = [
    "A",
    "A/B",
    "a__b",
    "a___b",
    "-a",
    "a-",
    "a.b.",
    "a" * 256,
    "a/" * 200 + "a",
    "~",
    "$(id)",
    "`id`",
    "'",
    '"',
    "<x>",
    "{x}",
    "a:b",
    "a@b",
    "*",
    "con",
]
TEXTS = STEPS + ENCODED + BYTES + OURS + SHAPES
PLACES = {
    "repository of a manifest": "/v2/{}/manifests/latest",
    "repository of a blob": f"/v2/{{}}/blobs/{EMPTY}",
    "repository of an upload": "/v2/{}/blobs/uploads/",
    "repository of a list": "/v2/{}/tags/list",
    "repository of referrers": f"/v2/{{}}/referrers/{DIGEST}",
    "tag": "/v2/odd/app/manifests/{}",
    "digest": "/v2/odd/app/manifests/sha256:{}",
    "digest of a blob": "/v2/odd/app/blobs/{}",
    "hexadecimals of a blob": "/v2/odd/app/blobs/sha256:{}",
    "digest of referrers": "/v2/odd/app/referrers/{}",
    "upload": "/v2/odd/app/blobs/uploads/{}",
    "digest of an upload": f"/v2/odd/app/blobs/uploads/{UPLOAD}?digest={{}}",
    "digest of a single post": "/v2/odd/app/blobs/uploads/?digest={}",
    "source of a mount": f"/v2/odd/app/blobs/uploads/?mount={DIGEST}&from={{}}",
    "blob of a mount": "/v2/odd/app/blobs/uploads/?mount={}&from=odd/other",
    "whole path": "/v2/{}",
    "whole target": "/{}",
}
ORDINARY = re.compile(r"[A-Za-z0-9._-]+")


async def attempts(server: Program, place: str, method: str) -> dict[str, Heard]:
    body = b"" if method in ("PUT", "POST", "PATCH") else None
    kind = "Content-Type: application/vnd.oci.image.manifest.v1+json"
    payloads = {f"{method} {text[:60]}": request(method, PLACES[place].format(text), body, kind, close=True) for text in TEXTS}
    return dict(zip(payloads, await speak_many(server.port, list(payloads.values())), strict=True))


@pytest.mark.parametrize("place", PLACES)
async def test_a_name_that_is_none_is_refused(server: Program, place: str) -> None:
    for method in METHODS:
        heard = await attempts(server, place, method)
        if method != "HEAD":
            assert not faults(heard)
        assert not {name for name, it in heard.items() if any("x-injected" in answer.headers for answer in it.answers)}
        assert not {
            name for name, it in heard.items() if any(b"do not serve" in answer.body or b"root:" in answer.body for answer in it.answers)
        }


def test_the_data_folder_holds_ordinary_names_alone(server: Program) -> None:
    """Runs after the attempts (same group, file order): whatever was accepted became a path of the grammar."""
    strange = [str(path) for path in server.root.rglob("*") if not ORDINARY.fullmatch(path.name)]
    assert not strange
    names = {path.relative_to(server.root).parts[:2] for path in server.root.rglob("*/*")}
    assert names <= {("docker", "registry"), ("_cargohold", "uploads"), ("_cargohold", "tmp"), ("_cargohold", "check")} | {
        ("_cargohold", path.name) for path in (server.root / "_cargohold").glob("cargohold.db*")
    }


TAGS = [
    "%f0%9f%90%b3",
    "caf%c3%a9",
    "a%00",
    "%00",
    "a%2fb",
    "a b",
    ".hidden",
    "-dash",
    "a" * 129,
    "%ef%bc%a1",
    "a%0ab",
    "sha256:" + "z" * 64,
]


@pytest.mark.parametrize("tag", TAGS)
async def test_a_tag_outside_the_grammar_is_not_written(server: Program, tag: str) -> None:
    manifest = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    put = request("PUT", f"/v2/odd/app/manifests/{tag}", manifest, "Content-Type: application/vnd.oci.image.index.v1+json", close=True)
    (heard,) = await speak_many(server.port, [put])
    assert [status for status in heard.statuses if 400 <= status < 500] == heard.statuses


async def test_a_tag_of_the_grammar_is_written(server: Program) -> None:
    """The other side of the test above: the same request with a good tag is accepted."""
    manifest = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    for tag in ["_", "A", "a" * 128, "1.0_x-y"]:
        put = request("PUT", f"/v2/odd/app/manifests/{tag}", manifest, "Content-Type: application/vnd.oci.image.index.v1+json", close=True)
        (heard,) = await speak_many(server.port, [put])
        assert heard.statuses == [201], heard


HEADERS = [
    "Range: bytes=99999999999999999999-",
    "Range: bytes=-99999999999999999999",
    "Range: bytes=5-1",
    "Range: bytes=a-b",
    "Range: lines=1-2",
    "Range: bytes=" + "0-1," * 500,
    "If-None-Match: " + '"' * 1000,
    "If-None-Match: *",
    "If-Match: ,,,,",
    "If-Range: nonsense",
    "Accept: " + ",".join(["*/*;q=2"] * 500),
    "Accept: text/html;q=x;q",
    "Content-Type: ",
    "Content-Type: application/json; charset=" + "u" * 5000,
    "Content-Range: 5-1",
    "Content-Range: bytes 0-99999999999999999999/*",
    "Content-Range: a-b",
    "Authorization: Basic %%%",
    "Authorization: Basic " + "A" * 8000,
    "Authorization: Bearer a.b.c",
    "Authorization: Nothing",
    "Host: ",
    "Host: [::1",
    "Host: a b",
    "Host: [2001:db8::1]:5000",
    "X-Forwarded-Proto: javascript",
    "X-Forwarded-Host: a\tb",
    "Forwarded: for=;;;proto==",
    "X-Request-Id: " + "x" * 5000,
    "X-Request-Id: {{7*7}}\t'",
    "User-Agent: \x7f\x1b[31m",
    "Cookie: " + "a=b;" * 2000,
    "Connection: close, keep-alive, upgrade",
    "TE: trailers, deflate",
]
OPERATIONS = [
    ("GET", "/v2/"),
    ("GET", "/v2/_catalog?n=1"),
    ("GET", "/v2/odd/app/tags/list?n=1"),
    ("GET", "/v2/odd/app/manifests/A"),
    ("GET", f"/v2/odd/app/blobs/{EMPTY}"),
    ("GET", f"/v2/odd/app/referrers/{DIGEST}"),
    ("POST", "/v2/odd/app/blobs/uploads/"),
    ("PATCH", f"/v2/odd/app/blobs/uploads/{UPLOAD}"),
    ("PUT", "/v2/odd/app/manifests/x"),
    ("POST", f"/v2/odd/app/blobs/uploads/?digest={EMPTY}"),
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda pair: " ".join(pair)[:50])
async def test_a_header_of_nonsense_breaks_nothing(server: Program, operation: tuple[str, str]) -> None:
    method, path = operation
    body = None if method == "GET" else b""
    cases = {line[:50]: request(method, path, body, line.encode("latin-1"), close=True) for line in HEADERS}
    heard = dict(zip(cases, await speak_many(server.port, list(cases.values())), strict=True))
    assert not faults(heard)


QUERIES = [
    "n=-1",
    "n=x",
    "n=1e9",
    "n=99999999999999999999",
    "n=%00",
    "n=",
    "n=1&n=2",
    "n=１",
    "last=%00",
    "last=%ff",
    "last=../..",
    "last=" + "a" * 5000,
    "&&&=&",
]


@pytest.mark.parametrize("path", ["/v2/_catalog", "/v2/odd/app/tags/list", f"/v2/odd/app/referrers/{DIGEST}"])
async def test_a_query_of_nonsense_is_refused_or_ignored(server: Program, path: str) -> None:
    cases = {
        query[:50]: request("GET", f"{path}?{query}", close=True) for query in [*QUERIES, "artifactType=%00", "artifactType=" + "a/" * 2000]
    }
    heard = dict(zip(cases, await speak_many(server.port, list(cases.values())), strict=True))
    assert not faults(heard)
