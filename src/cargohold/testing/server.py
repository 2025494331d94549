"""Our registry for tests: in this process, or as the program itself.

    async with registry() as running:                      # blobs in memory, SQLite in a folder of its own
        await apush(running.client, "team/app", image(), "1.0")

    with serve_process(folder, "--htpasswd", path) as served:      # `cargohold registry serve`, on a free port
        push(served.client(), "team/app", image(), "1.0")

In this process there is no socket: the client speaks to the endpoint through the ASGI adaptor. What depends on sockets,
workers or signals needs the program. Both leave nothing behind but the folder that they were given.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from cargohold.app import RegistryApp, open_store, prepare
from cargohold.auth.authenticator import authenticator
from cargohold.config.settings import Database, Settings, Storage
from cargohold.content.store import Store
from cargohold.http.asgi import EndpointApp

BASE_URL = "http://registry.test"
PATIENCE = 20.0
_ADDRESS = re.compile(rb"https?://[^\s,]+:\d+")


@dataclass(frozen=True)
class Running:
    app: RegistryApp
    store: Store
    settings: Settings
    client: httpx.AsyncClient

    def client_from(self, address: str = "127.0.0.1", **headers: str) -> httpx.AsyncClient:
        """Another client, from that address and with these headers on every request."""
        transport = httpx.ASGITransport(EndpointApp(self.app.endpoint, self.settings.http.headers), client=(address, 50000))
        return httpx.AsyncClient(transport=transport, base_url=BASE_URL, headers=headers)


@contextlib.asynccontextmanager
async def registry(settings: Settings | None = None, *, folder: Path | None = None, keeper: bool = True) -> AsyncIterator[Running]:
    """Started, and closed at the end. Without `settings` all is in memory but the rows; `folder` is `storage.rootdirectory`.

    `keeper`: this one does the housekeeping of worker 0 (adoption, sweeping); several on one folder have one keeper.
    """
    with contextlib.ExitStack() as stack:
        chosen = settings or Settings(storage=Storage(driver="inmemory"), database=Database(synchronous="normal"))
        root = str(folder) if folder else stack.enter_context(tempfile.TemporaryDirectory(prefix="cargohold-test-"))
        if folder or settings is None:
            chosen = msgspec.structs.replace(chosen, storage=msgspec.structs.replace(chosen.storage, rootdirectory=root))
        prepare(chosen)
        store = await open_store(chosen)
        app = RegistryApp(chosen, store, authenticator(chosen.auth), keeper=keeper)
        await app.start()
        running = Running(app, store, chosen, httpx.AsyncClient(transport=httpx.ASGITransport(_asgi(app, chosen)), base_url=BASE_URL))
        try:
            yield running
        finally:
            await running.client.aclose()
            await app.stop()


def _asgi(app: RegistryApp, settings: Settings) -> EndpointApp:
    return EndpointApp(app.endpoint, settings.http.headers)


class Served:
    """A server process that answers; `log` is all that it wrote."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, url: str) -> None:
        self.process, self._log, self.url = process, log, url

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def client(self, **headers: str) -> httpx.Client:
        """Its own connections, no proxy from the environment; close it."""
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE, trust_env=False)

    def kill(self) -> None:
        """SIGKILL to supervisor and workers at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self) -> int:
        """SIGTERM: it drains and ends. The exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def serve_process(folder: Path, *arguments: str, config: str = "", environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """`cargohold registry serve` with data in `folder`/data, until the block ends. `config` is the text of a config.yml.

    Raises RuntimeError with what it wrote when it does not come to answer. Variables of this process that would set it are left out.
    """
    command = [sys.executable, "-c", "from cargohold.cli import main; main()", "registry", "serve"]
    if config:
        (folder / "config.yml").write_text(config, encoding="utf-8")
        command.append(str(folder / "config.yml"))
    command += ["--root", str(folder / "data"), "--addr", "127.0.0.1:0", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CARGOHOLD_", "REGISTRY_"))}
    log = folder / "serve.log"
    start = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 # our own program, arguments of the test
            command,
            env=clean | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        served = Served(process, log, _announced(process, log, start))
        yield served
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(PATIENCE)


def _announced(process: subprocess.Popen[bytes], log: Path, start: int) -> str:
    """The URL of the one line that says where it listens; it comes when all workers answer."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        written = log.read_bytes()[start:]
        if found := _ADDRESS.search(written):
            return found[0].decode()
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise RuntimeError(f"the server did not come up: {log.read_bytes()[start:].decode(errors='replace')}")
