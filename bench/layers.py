"""What a small read is made of: `python -m bench.layers`. One process, no sockets: requests are fed to the protocol class.

    kernel    receiving and sending: not in here; the rest of what `bench.profile` tells for a row
    protocol  llhttp, our protocol class, the head of the answer: measured with an endpoint that does nothing
    plane     dispatch, handler, rows: the real endpoint without auth, less `protocol` and `statement`
    statement SQLite alone: the query of the row, in this thread
    auth      htpasswd with remembered credentials: the real endpoint with it, less the one without

Each is the best of several runs of processor time per request, so that a busy machine disturbs little.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import uvloop

from bench import seed
from bench.credentials import Credentials
from bench.seed import APP
from bench.servers import MANIFEST, cargohold
from cargohold.app import RegistryApp
from cargohold.config.settings import Auth, Htpasswd, Settings, Storage
from cargohold.content.queries import blobs, manifests
from cargohold.http.call import Call
from cargohold.http.protocol import Connection
from cargohold.http.replies import Reply
from cargohold.http.server import Seat, Server
from cargohold.http.worker import observer
from cargohold.names import Digest, RepoName, Tag

_RUNS, _REQUESTS = 9, 3_000


class _Wire(asyncio.Transport):
    """Takes what is written and keeps nothing."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.last = b""

    def write(self, data: Any) -> None:
        self.last = data

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class _Nothing:
    """An app whose endpoint answers at once, always the same."""

    inline = True

    async def endpoint(self, call: Call) -> Reply:
        call.route = "manifest"
        return Reply(200, [(b"Content-Type", b"application/json")], b"{}")

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def ready(self) -> str:
        return ""


def _best(step: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(_RUNS):
        began = time.thread_time()
        for _ in range(_REQUESTS):
            step()
        best = min(best, time.thread_time() - began)
    return best / _REQUESTS * 1e6


async def _fed(app: Any, settings: Settings, request: bytes, status: bytes = b"HTTP/1.1 200") -> float:
    server = Server(app, settings.http, [], observe=observer(None))
    await server.start()
    loop, wire = asyncio.get_running_loop(), _Wire()
    connection = Connection(server.state, loop)
    connection.connection_made(wire)
    for _ in range(2):  # the first one with htpasswd waits for bcrypt
        connection.data_received(request)
        await asyncio.sleep(0.4)
    if not wire.last.startswith(status):
        raise RuntimeError(f"{request[:80]!r}: {wire.last[:200]!r}")
    taken = _best(lambda: connection.data_received(request))
    await server.stop()
    return taken


async def _statement(app: RegistryApp, content: seed.Seed, kind: str) -> float:
    now = app._store.db.now
    name, tag, digest = RepoName(APP), Tag("small"), Digest(content.digests["4k"])

    def step() -> None:
        asked = manifests.manifest_by_tag(now, name, tag) if kind == "manifest" else blobs.blob_in(now, name, digest)
        try:
            asked.send(None)
        except StopIteration as stop:
            assert stop.value is not None

    return _best(step) if kind else 0.0


async def _measure(folder: Path, credentials: Credentials, content: seed.Seed) -> None:
    storage = Storage(rootdirectory=str(folder / "root"))
    plain, locked = (
        Settings(storage=storage),
        Settings(storage=storage, auth=Auth(kind="htpasswd", htpasswd=Htpasswd(realm="bench", path=str(credentials.htpasswd)))),
    )
    open_app = await RegistryApp.open(plain, Seat(1))
    locked_app = await RegistryApp.open(locked, Seat(1))
    print(f"{'us of processor time':24}{'protocol':>10}{'plane':>10}{'statement':>10}{'auth':>10}{'sum':>10}")
    for name, method, path, kind in (
        ("GET /v2/", "GET", "/v2/", ""),
        ("HEAD manifest by tag", "HEAD", f"/v2/{APP}/manifests/small", "manifest"),
        ("GET manifest by tag", "GET", f"/v2/{APP}/manifests/small", "manifest"),
        ("HEAD blob", "HEAD", f"/v2/{APP}/blobs/{content.digests['4k']}", "blob"),
        ("GET blob 4 KiB", "GET", f"/v2/{APP}/blobs/{content.digests['4k']}", "blob"),
    ):
        secret = credentials.headers("htpasswd")["Authorization"]
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: 127.0.0.1:5000",
            "User-Agent: bench",
            f"Authorization: {secret}",
            f"Accept: {MANIFEST}",
        ]
        head = "\r\n".join([*lines, "", ""])
        nothing = await _fed(_Nothing(), plain, head.encode())
        without, with_auth = await _fed(open_app, plain, head.encode()), await _fed(locked_app, locked, head.encode())
        statement = await _statement(open_app, content, kind)
        parts = (nothing, without - nothing - statement, statement, with_auth - without, with_auth)
        print(f"{name:24}" + "".join(f"{part:10.1f}" for part in parts))
    await open_app.stop()
    await locked_app.stop()


@click.command(help=__doc__)
def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cargohold-layers-") as name:
        folder = Path(name)
        credentials, content = Credentials(folder), seed.make()
        server = cargohold("seed", folder, folder / "root", credentials, auth="none")
        try:
            seed.Pusher(server).image(content, large=False)
        finally:
            server.stop()
        uvloop.run(_measure(folder, credentials, content))


if __name__ == "__main__":
    main()
