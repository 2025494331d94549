"""Requests whose frame is broken: lengths that lie, chunks that are none, pairs that two readers would read differently.

Each table maps a name to the bytes sent. A framing fault is answered with a refusal or a close; whatever follows it on the
connection is never taken for a request.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.bad_input.conftest import faults
from tests.bad_input.wire import Heard, request, speak, speak_many
from tests.program import Program

pytestmark = pytest.mark.xdist_group("bad-input")

DIGEST = "sha256:" + "a" * 64
PUT = b"PUT /v2/bad/app/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n"
POST = b"POST /v2/bad/app/blobs/uploads/ HTTP/1.1\r\nHost: x\r\n"
SINGLE = POST.replace(b"uploads/", b"uploads/?digest=" + DIGEST.encode())
SECOND = b"GET /v2/_catalog?n=1 HTTP/1.1\r\nHost: x\r\n\r\n"


async def hear(server: Program, cases: dict[str, bytes], *, hang_up: bool = True) -> dict[str, Heard]:
    return dict(zip(cases, await speak_many(server.port, list(cases.values()), hang_up=hang_up), strict=True))


LENGTHS = {
    "negative": b"Content-Length: -1\r\n\r\n{}",
    "signed": b"Content-Length: +2\r\n\r\n{}",
    "hexadecimal": b"Content-Length: 0x2\r\n\r\n{}",
    "words": b"Content-Length: two\r\n\r\n{}",
    "empty": b"Content-Length: \r\n\r\n{}",
    "fraction": b"Content-Length: 2.0\r\n\r\n{}",
    "two values": b"Content-Length: 2, 20\r\n\r\n{}",
    "two headers": b"Content-Length: 2\r\nContent-Length: 20\r\n\r\n{}",
    "over 64 bits": b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "space before the colon": b"Content-Length : 2\r\n\r\n{}",
    "folded": b"Content-Length:\r\n 2\r\n\r\n{}",
    "nul": b"Content-Length: 2\x00\r\n\r\n{}",
}


async def test_a_length_that_is_no_length_is_refused(server: Program) -> None:
    heard = await hear(server, {name: PUT + tail for name, tail in LENGTHS.items()})
    assert not faults(heard)
    assert not {name: it.statuses for name, it in heard.items() if it.statuses not in ([400], [])}


async def test_a_body_shorter_than_its_length_is_never_acknowledged(server: Program) -> None:
    blob = b"Content-Length: 100\r\n\r\nshort"
    heard = await hear(
        server,
        {
            "manifest": PUT + blob,
            "blob in one request": SINGLE + blob,
            "nothing at all": PUT + b"Content-Length: 100\r\n\r\n",
            "four gigabytes": PUT + b"Content-Length: 4294967297\r\n\r\n{}",
        },
    )
    assert not faults(heard)
    assert not {name: it.statuses for name, it in heard.items() if any(status < 400 for status in it.statuses)}


async def test_what_follows_a_short_length_is_no_second_request(server: Program) -> None:
    heard = await speak(server.port, PUT + b'Content-Length: 2\r\n\r\n{}{"more": "than was announced"}\r\n\r\n' + SECOND)
    assert not heard.fault()
    assert 200 not in heard.statuses


CHUNKS = {
    "size is no number": b"zz\r\nhello\r\n0\r\n\r\n",
    "size is negative": b"-5\r\nhello\r\n0\r\n\r\n",
    "size is over 64 bits": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "size in 0x form": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size after a blank": b" 5\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "no line end after the data": b"5\r\nhello0\r\n\r\n",
    "data longer than its size": b"3\r\nhello\r\n0\r\n\r\n",
    "a bare carriage return": b"5\rhello\r\n0\r\n\r\n",
    "nul in the size": b"5\x00\r\nhello\r\n0\r\n\r\n",
    "trailer without a colon": b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n",
}


async def test_a_broken_chunk_is_refused(server: Program) -> None:
    cases = {name: PUT + b"Transfer-Encoding: chunked\r\n\r\n" + body + SECOND for name, body in CHUNKS.items()}
    heard = await hear(server, cases)
    assert not faults(heard)
    assert not {name: it.statuses for name, it in heard.items() if 201 in it.statuses or 200 in it.statuses}


async def test_a_chunked_body_that_stops_is_never_acknowledged(server: Program) -> None:
    whole = b"5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n"
    cases = {str(cut): PUT + b"Transfer-Encoding: chunked\r\n\r\n" + whole[:cut] for cut in range(len(whole))}
    heard = await hear(server, cases)
    assert not faults(heard)
    assert not {name: it.statuses for name, it in heard.items() if any(status < 400 for status in it.statuses)}


CHUNKED = b"0\r\n\r\n"
PAIRS = {
    "both, length first": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "both, chunked first": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + CHUNKED,
    "length hides the second": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % (len(CHUNKED) + len(SECOND)) + CHUNKED,
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "chunked, then identity": b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKED,
    "identity": b"Transfer-Encoding: identity\r\n\r\n" + CHUNKED,
    "misspelt": b"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n" + CHUNKED,
    "with a tab": b"Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n\r\n" + CHUNKED,
    "with a vertical tab": b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\n" + CHUNKED,
    "quoted": b'Transfer-Encoding: "chunked"\r\nContent-Length: 5\r\n\r\n' + CHUNKED,
    "blank before the colon": b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n" + CHUNKED,
    "folded": b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n" + CHUNKED,
    "in another header's value": b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + CHUNKED,
}


async def test_a_request_that_two_readers_would_read_differently_ends_the_connection(server: Program) -> None:
    """RFC 9112, 6.1: it is refused, or answered by its chunks and the connection closed; nobody behind a proxy gets the second answer."""
    heard = await hear(server, {name: POST + pair + SECOND for name, pair in PAIRS.items()})
    assert not faults(heard)
    assert not {name: it.statuses for name, it in heard.items() if 200 in it.statuses}


async def test_a_get_with_a_body_does_not_shift_the_next_request(server: Program) -> None:
    """The body of a GET is read past (or the connection ends): it is no request itself."""
    inner = b"DELETE /v2/bad/app/manifests/1 HTTP/1.1\r\nHost: x\r\n\r\n"
    heard = await speak(server.port, request("GET", "/v2/", inner) + SECOND)
    assert not heard.fault()
    assert heard.statuses in ([200, 200], [200], [400], [])


FRAMES = {
    "no version": b"GET /v2/\r\n\r\n",
    "version 9.9": b"GET /v2/ HTTP/9.9\r\nHost: x\r\n\r\n",
    "version 1.1.1": b"GET /v2/ HTTP/1.1.1\r\nHost: x\r\n\r\n",
    "http/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "method of four kilobytes": b"A" * 4096 + b" /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "method in small letters": b"get /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "method nobody knows": b"BREW /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect": b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "trace": b"TRACE /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "options of everything": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "another server's url": b"GET http://example.org/v2/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "no host": b"GET /v2/ HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "line feeds alone": b"GET /v2/ HTTP/1.1\nHost: x\n\n",
    "carriage returns alone": b"GET /v2/ HTTP/1.1\rHost: x\r\r",
    "header without a colon": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    "header without a name": b"GET /v2/ HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "nul in a header": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
    "header in latin-1": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Request-Id: caf\xe9\r\n\r\n",
    "header of bytes that are no text": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nAccept: \xff\xfe\xfd\r\nRange: \x80\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "noise": bytes(range(256)) * 16,
    "empty lines": b"\r\n" * 2000,
    "websocket": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n",
    "h2c": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
    "an expectation nobody knows": PUT + b"Expect: the-unexpected\r\nContent-Length: 2\r\n\r\n{}",
    "100-continue that never goes on": PUT + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
}


async def test_whatever_frame_comes_there_is_an_answer_or_a_close(server: Program) -> None:
    assert not faults(await hear(server, FRAMES))


BOMBS = {
    "target of 64 KB": request("GET", "/v2/" + "a/" * 32768 + "manifests/1"),
    "query of 64 KB": request("GET", "/v2/_catalog?last=" + "a" * 65536),
    "target of a megabyte": request("GET", "/v2/" + "a" * (1 << 20)),
    "ten thousand headers": request("GET", "/v2/", None, *(f"X-{n}: {n}" for n in range(10_000))),
    "a header of a megabyte": request("GET", "/v2/", None, "Accept: " + "a" * (1 << 20)),
    "the same header a thousand times": request("GET", "/v2/", None, *["Accept: */*"] * 1000),
    "a name of 64 KB": request("GET", "/v2/", None, "A" * 65536 + ": b"),
    "64 KB of authorization": request("GET", "/v2/", None, "Authorization: Basic " + "QUFB" * 16384),
    "ranges": request("GET", f"/v2/bad/app/blobs/{DIGEST}", None, "Range: bytes=" + ",".join(["0-0"] * 4000)),
    "trailers": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 30_000 + b"\r\n",
    "chunk extensions": POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x=y;" * 60_000 + b"\r\na\r\n0\r\n\r\n",
}


async def test_a_header_bomb_is_refused(server: Program) -> None:
    heard = await hear(server, BOMBS)
    assert not faults(heard)
    small = {"the same header a thousand times", "ranges", "chunk extensions", "trailers"}
    assert not {name: it.statuses for name, it in heard.items() if name not in small and any(status < 400 for status in it.statuses)}


async def test_headers_without_end_cost_a_bounded_time(server: Program) -> None:
    async def drip() -> Heard:
        pieces = (b"GET /v2/ HTTP/1.1\r\n" if n == 0 else b"X-%d: y\r\n" % n for n in range(20_000))
        return await speak(server.port, pieces, hang_up=False)

    for heard in await asyncio.gather(*(drip() for _ in range(4))):
        assert not heard.fault()


async def test_a_request_that_stops_in_the_middle_is_closed_in_time(server: Program) -> None:
    """Silence of the client, without a FIN: the header timer and the idle timer end it."""
    starts = [
        b"GET",
        b"GET /v2/ HTTP/1.1\r\nHos",
        PUT,
        PUT + b"Content-Length: 9\r\n\r\n{",
        SINGLE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
    ]
    for start, heard in zip(starts, await speak_many(server.port, starts, hang_up=False), strict=True):
        assert heard.closed, start
        assert all(status >= 400 for status in heard.statuses), start


async def test_a_hundred_requests_at_once_are_answered_in_order(server: Program) -> None:
    paths = ["/v2/" if n % 3 else f"/v2/bad/app/manifests/{n}" for n in range(100)]
    heard = await speak(server.port, b"".join(request("GET", path) for path in paths), hang_up=False)
    assert heard.statuses == [200 if path == "/v2/" else 404 for path in paths]


async def test_a_fault_behind_good_requests_takes_none_of_their_answers(server: Program) -> None:
    heard = await speak(server.port, request("GET", "/v2/") * 3 + b"\x00\x01\x02\r\n\r\n" + SECOND)
    assert not heard.fault()
    assert heard.statuses[:3] == [200, 200, 200]
    assert len(heard.statuses) <= 4
