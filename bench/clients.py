"""The load generators, each giving one `Sample` with the server's processor time and memory beside it.

`load` and `push` run the C clients (compiled here into `.tools/`), `wrk` the program of that name (TLS), `upload` sends one
large layer from a blocking socket, in this process: the body is framed beforehand, so that all of its time is `sendall`.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import resource
import subprocess
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from bench import watch
from bench.measure import Sample
from bench.servers import HOST, Server, program
from bench.watch import Watch

TOOLS = Path(__file__).resolve().parent.parent / ".tools"
_CHUNK = 32 * 1024
MIB = 1 << 20


def compile_clients() -> None:
    """Builds .tools/load and .tools/push when missing or older than their source; needs a C compiler."""
    TOOLS.mkdir(exist_ok=True)
    for name in ("load", "push"):
        source, target = Path(__file__).with_name(f"{name}.c"), TOOLS / name
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            subprocess.run([program("cc"), "-O2", "-pthread", "-o", str(target), str(source)], check=True)


def _headers(server: Server, more: dict[str, str] | None) -> list[str]:
    return [f"{name}: {value}" for name, value in {**server.headers, **(more or {})}.items()]


def _run(command: list[str], server: Server) -> tuple[str, Watch]:
    with Watch(server.pid) as seen:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} against {server.name}: {done.stderr[-500:]}")
    return done.stdout, seen


def load(
    server: Server,
    path: str,
    *,
    seconds: float,
    method: str = "GET",
    connections: int = 16,
    expected: int = -1,
    headers: dict[str, str] | None = None,
    by_bytes: bool = False,
) -> Sample:
    """`expected`: length of every body (-1 any, -3 a redirect); `by_bytes`: the rate is MB/s, the processor time s/GiB."""
    command = [str(TOOLS / "load"), HOST, str(server.port), str(connections), str(seconds), method, path, str(expected)]
    out, seen = _run([*command, *_headers(server, headers)], server)
    told: dict[str, Any] = json.loads(out)
    sample = Sample(
        rate=told["requests"] / told["seconds"],
        p50_ms=told["p50_us"] / 1e3,
        p99_ms=told["p99_us"] / 1e3,
        cpu=seen.cpu_s * 1e6 / max(told["requests"], 1),
        client=told["cpu_s"] / told["seconds"],
        bad=told["non2xx"] + told["resets"] + told["short"],
        rss_mib=seen.peak / MIB,
        growth_mib=seen.growth / MIB,
    )
    if by_bytes:
        sample.rate, sample.unit = told["bytes"] / told["seconds"] / 1e6, "MB/s"
        sample.cpu = seen.cpu_s / max(told["bytes"], 1) * 2**30
    if not told["requests"] and not by_bytes:
        sample.bad += 1
    return sample


_WRK_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def wrk(
    server: Server, path: str, *, seconds: float, connections: int, by_bytes: bool = False, headers: dict[str, str] | None = None
) -> Sample:
    """TLS load. wrk tells wrong statuses and broken reads, not short bodies."""
    url = f"{'https' if server.tls else 'http'}://{HOST}:{server.port}{path}"
    command = [program("wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "30s"]
    for header in _headers(server, headers):
        command += ["-H", header]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out, seen = _run([*command, url], server)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"(\d+) requests in ([\d.]+)(m?s), ([\d.]+)(\w?B) read", out)
    assert found is not None, out
    requests, lasted = int(found[1]), float(found[2]) * (1e-3 if found[3] == "ms" else 1)
    read = float(found[4]) * {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}[found[5]]
    client = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    percentiles = {name: float(value) * _WRK_UNITS[unit] for name, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)\b", out)}
    wrong = sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    sample = Sample(
        rate=requests / lasted,
        p50_ms=percentiles.get("50", 0.0),
        p99_ms=percentiles.get("99", 0.0),
        cpu=seen.cpu_s * 1e6 / max(requests, 1),
        client=client / lasted,
        bad=wrong + (sum(int(value) for value in errors.groups()) if errors else 0),
        rss_mib=seen.peak / MIB,
        growth_mib=seen.growth / MIB,
    )
    if by_bytes:
        sample.rate, sample.unit, sample.cpu = read / lasted / 1e6, "MB/s", seen.cpu_s / max(read, 1) * 2**30
    return sample


def push(server: Server, plan: Path, *, clients: int, seconds: float, repository: str = "bench/push") -> Sample:
    """Small images, docker's 13 requests each; the rate is images, counted by the requests answered in time."""
    command = [str(TOOLS / "push"), HOST, str(server.port), str(clients), str(seconds), repository, str(plan)]
    out, seen = _run([*command, *_headers(server, None)], server)
    told: dict[str, Any] = json.loads(out)
    return Sample(
        rate=told["requests_in_time"] / 13 / told["seconds"],
        unit="img/s",
        p50_ms=told["p50_us"] / 1e3,
        p99_ms=told["p99_us"] / 1e3,
        cpu=seen.cpu_s * 1e6 / max(told["images"], 1),
        client=told["cpu_s"] / told["seconds"],
        bad=told["bad"] + told["resets"],
        note="plan used up" if told["exhausted"] else "",
        rss_mib=seen.peak / MIB,
        growth_mib=seen.growth / MIB,
    )


class Layer:
    """A large layer: one random block, `count` times. Its digest is known before the clock starts; it costs one block of memory."""

    def __init__(self, size: int) -> None:
        self._block = os.urandom(MIB)
        self._count = size // MIB
        self.size = self._count * MIB
        known = hashlib.sha256()
        for _ in range(self._count):
            known.update(self._block)
        self.digest = f"sha256:{known.hexdigest()}"

    def pieces(self, *, chunked: bool) -> Iterator[bytes]:
        """As they go into the socket; chunked: HTTP chunks of 32 KiB, as Go's io.Copy makes them."""
        if not chunked:
            return repeat(self._block, self._count)
        parts = (self._block[at : at + _CHUNK] for at in range(0, MIB, _CHUNK))
        framed = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
        return chain(chain.from_iterable(repeat(framed, self._count)), [b"0\r\n\r\n"])


def _location(answer: http.client.HTTPResponse) -> str:
    value = answer.getheader("Location") or ""
    scheme, _, rest = value.partition("://")
    return "/" + rest.partition("/")[2] if rest else scheme


def _step(connection: http.client.HTTPConnection, server: Server, method: str, path: str, wanted: int) -> http.client.HTTPResponse:
    connection.request(method, path, b"", server.headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != wanted:
        raise RuntimeError(f"{server.name}: {method} {path}: {answer.status} {body[:300]!r}")
    return answer


def upload(server: Server, layer: Layer, *, chunked: bool, repository: str = "bench/large") -> Sample:
    """POST, PATCH with the whole layer, PUT; `tail_ms` is the time of the PUT."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {layer.size}"
    connection = server.connect()
    try:
        with Watch(server.pid) as seen:
            began, cpu = time.perf_counter(), time.thread_time()
            target = _location(_step(connection, server, "POST", f"/v2/{repository}/blobs/uploads/", 202))
            target = _location(_patch(connection, server, target, framing, layer.pieces(chunked=chunked)))
            put = time.perf_counter()
            joint = "&" if "?" in target else "?"
            _step(connection, server, "PUT", f"{target}{joint}digest={layer.digest}", 201)
            ended, cpu = time.perf_counter(), time.thread_time() - cpu
    finally:
        connection.close()
    lasted = ended - began
    return Sample(
        rate=layer.size / lasted / 1e6,
        unit="MB/s",
        p50_ms=lasted * 1e3,
        tail_ms=(ended - put) * 1e3,
        cpu=seen.cpu_s / layer.size * 2**30,
        client=cpu / lasted,
        rss_mib=seen.peak / MIB,
        growth_mib=seen.growth / MIB,
    )


def _patch(
    connection: http.client.HTTPConnection, server: Server, target: str, framing: str, body: Iterator[bytes]
) -> http.client.HTTPResponse:
    head = [f"PATCH {target} HTTP/1.1", f"Host: {HOST}", framing, "Content-Type: application/octet-stream", *_headers(server, None)]
    sock = connection.sock
    sock.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
    for piece in body:
        sock.sendall(piece)
    answer = http.client.HTTPResponse(sock, method="PATCH")
    answer.begin()
    told = answer.read()
    if answer.status != 202:
        raise RuntimeError(f"{server.name}: PATCH: {answer.status} {told[:300]!r}")
    return answer


def upload_across(server: Server, layer: Layer, *, other: bool, repository: str = "bench/large") -> Sample:
    """Like `upload`, with the PUT on a connection that another worker (`other`), or the same one, accepted."""
    first = server.connect()
    first.connect()
    owner = watch.owner(server.pid, first.sock.getsockname())
    spare: list[http.client.HTTPConnection] = []
    try:
        while True:
            second = server.connect()
            second.connect()
            spare.append(second)
            if (watch.owner(server.pid, second.sock.getsockname()) != owner) == other:
                break
            if len(spare) > 200:
                raise RuntimeError(f"{server.name}: 200 connections, none on {'another' if other else 'the same'} worker")
        began = time.perf_counter()
        target = _location(_step(first, server, "POST", f"/v2/{repository}/blobs/uploads/", 202))
        target = _location(_patch(first, server, target, "Transfer-Encoding: chunked", layer.pieces(chunked=True)))
        put = time.perf_counter()
        joint = "&" if "?" in target else "?"
        _step(second, server, "PUT", f"{target}{joint}digest={layer.digest}", 201)
        ended = time.perf_counter()
    finally:
        for connection in (first, *spare):
            connection.close()
    return Sample(rate=layer.size / (ended - began) / 1e6, unit="MB/s", tail_ms=(ended - put) * 1e3)
