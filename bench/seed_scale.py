"""Does the cost stay flat? Tag list page and HEAD by tag in a full store, beside the same in a nearly empty one.

Full: a repository of 100,000 tags, each on a manifest of its own, in a store of 1,000,000 blob rows in 1,000 repositories.
Empty: one repository of 100 tags, so that a page is as long. Both are real servers with one worker; requests go one after
another over one connection of this process, in interleaved rounds, all over the names so that no page of the database is hot
by chance. The ratio is time per request, full by empty; it must be at most 1.5.

`python -m bench.seed_scale [--postgres]` prints it; tests/soak/test_scale.py holds it.
"""

from __future__ import annotations

import hashlib
import random
import socket
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import click
import msgspec

from bench import seed
from bench.backends import Backends
from bench.credentials import Credentials
from bench.seed_rows import Rows
from bench.servers import HOST, MANIFEST, Server, cargohold

LIMIT = 1.5
TAG_COUNT, BLOB_COUNT, OWNER_COUNT, PAGE = 100_000, 1_000_000, 1_000, 100
_ROUNDS, _REQUESTS = 7, 1_500
_REPOSITORY = "scale/app"


class Flatness(msgspec.Struct, frozen=True):
    """Time per request, full store by empty one."""

    op: str
    ratio: float
    full_us: float
    empty_us: float


def tag_names(count: int) -> list[str]:
    return [f"build-{number:06d}" for number in range(count)]


def fill(database: Path | str, tag_count: int, blob_count: int) -> None:
    """Rows into a database that has the schema and nothing else."""
    bodies = [seed.manifest(b"{}", [], number=str(number)) for number in range(tag_count)]
    digests = [b"\0" + hashlib.sha256(body).digest() for body in bodies]
    with Rows(database) as rows:
        if blob_count:
            rows.blobs(blob_count, rows.repositories([f"other/r{number:04d}" for number in range(OWNER_COUNT)]))
        owner = rows.repositories([_REPOSITORY])[0]
        rows.tags(owner, tag_names(tag_count), rows.manifests(owner, bodies, digests))


def start(folder: Path, name: str, credentials: Credentials, database: str, tag_count: int, blob_count: int) -> Server:
    root = folder / name
    run = partial(cargohold, name, folder, root, credentials, auth="none", database=database, workers=1)
    run().stop()
    fill(database or root / "_cargohold/cargohold.db", tag_count, blob_count)
    return run()


class _Client:
    """One keep-alive connection; `time_all` asks each request once and gives the mean time in microseconds."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection((HOST, server.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def time_all(self, requests: list[bytes]) -> float:
        began = time.perf_counter()
        for request in requests:
            self._socket.sendall(request)
            self._answer(head=request.startswith(b"HEAD"))
        return (time.perf_counter() - began) / len(requests) * 1e6

    def _answer(self, *, head: bool) -> None:
        data = self._socket.recv(65536)
        while b"\r\n\r\n" not in data:
            data += self._more()
        top, _, body = data.partition(b"\r\n\r\n")
        if not top.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{top[:300]!r} {body[:300]!r}")
        if head:
            return
        length = int(top.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        got = len(body)
        while got < length:
            got += len(self._more())

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise RuntimeError("the server closed the connection")
        return data

    def close(self) -> None:
        self._socket.close()


def _request(method: str, target: str) -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nAccept: {MANIFEST}\r\n\r\n".encode()


def _requests(op: str, tags: list[str]) -> list[bytes]:
    """`_REQUESTS` of them, spread over all names in random order."""
    dice = random.Random(1)
    if op == "head-by-tag":
        return [_request("HEAD", f"/v2/{_REPOSITORY}/manifests/{dice.choice(tags)}") for _ in range(_REQUESTS)]
    starts = [tags[dice.randrange(len(tags) - PAGE)] if len(tags) > PAGE else "" for _ in range(_REQUESTS)]
    return [_request("GET", f"/v2/{_REPOSITORY}/tags/list?n={PAGE}" + (f"&last={start}" if start else "")) for start in starts]


def compare(full: Server, empty: Server, tag_count: int) -> list[Flatness]:
    found: list[Flatness] = []
    for op in ("head-by-tag", "tags-page"):
        plans = [(_Client(full), _requests(op, tag_names(tag_count))), (_Client(empty), _requests(op, tag_names(PAGE)))]
        taken: list[list[float]] = [[], []]
        for turn in range(-1, _ROUNDS):
            for side in (0, 1) if turn % 2 else (1, 0):
                client, requests = plans[side]
                mean = client.time_all(requests)
                if turn >= 0:
                    taken[side].append(mean)
        for client, _ in plans:
            client.close()
        ratios = [a / b for a, b in zip(*taken, strict=True)]
        found.append(Flatness(op, statistics.median(ratios), statistics.median(taken[0]), statistics.median(taken[1])))
    return found


def measure(folder: Path, *, postgres: bool = False, tag_count: int = TAG_COUNT, blob_count: int = BLOB_COUNT) -> list[Flatness]:
    """Seeds both stores below `folder` and compares them; PostgreSQL comes from the wheel."""
    credentials, backends = Credentials(folder), Backends(folder)
    running: list[Server] = []
    try:
        urls = [backends.postgres(), backends.postgres()] if postgres else ["", ""]
        for name, url, tags, blobs in (("full", urls[0], tag_count, blob_count), ("empty", urls[1], PAGE, 0)):
            running.append(start(folder, name, credentials, url, tags, blobs))
        return compare(running[0], running[1], tag_count)
    finally:
        for server in running:
            server.stop()
        backends.stop()


@click.command(help=__doc__)
@click.option("--postgres", is_flag=True, help="On PostgreSQL from the wheel instead of SQLite.")
def main(postgres: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="cargohold-scale-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for line in measure(folder, postgres=postgres):
            verdict = "ok" if line.ratio <= LIMIT else "FAIL"
            print(f"{line.op:12} {line.ratio:.2f} of at most {LIMIT}  {verdict}  full {line.full_us:.0f} us, empty {line.empty_us:.0f} us")


if __name__ == "__main__":
    main()
