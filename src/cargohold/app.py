"""The composition root: settings -> database, driver -> store, gates -> plane -> endpoint. The only file that knows all classes.

    serve(loaded)   supervisor: refuse early, migrate, fork; each worker builds its own `RegistryApp` after the fork
    fsck, rebuild   the same store without HTTP, for the command line

Nothing here opens a database or a storage client before the fork. Callers: cli/, cargohold.testing.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import sqlalchemy as sa
import uvloop

from cargohold.auth.authenticator import Authenticator, authenticator
from cargohold.config.load import Loaded
from cargohold.config.settings import Settings
from cargohold.content import journal, sweeper
from cargohold.content.adoption import Adoption
from cargohold.content.gates import Gates, PushGate, deletes_off, read_only
from cargohold.content.store import Store
from cargohold.db.connect import connect, file_of
from cargohold.db.tables import metadata
from cargohold.http.call import Endpoint
from cargohold.http.listen import listen
from cargohold.http.server import Seat, Server
from cargohold.registry.dispatch import Dispatch
from cargohold.registry.plane import Plane
from cargohold.storage.open import open_driver


def gates_of(settings: Settings) -> Gates:
    writes: list[PushGate] = [read_only] if settings.storage.readonly else []
    deletes = writes if settings.storage.delete else [*writes, deletes_off]
    return Gates(before_push=writes, before_delete=deletes)


async def open_store(settings: Settings) -> Store:
    """Database and driver of this process. Close it with `close_store`, in the same loop."""
    db = await connect(settings.database, data_folder(settings))
    return Store(db, open_driver(settings.storage), settings.limits, gates_of(settings))


async def close_store(store: Store) -> None:
    await store.settle()
    await store.driver.aclose()
    await store.db.aclose()


def data_folder(settings: Settings) -> Path:
    return Path(settings.storage.rootdirectory)


class RegistryApp:
    """What one worker serves: the data plane, and on seat 0 the housekeeping beside it."""

    def __init__(self, settings: Settings, store: Store, auth: Authenticator, *, keeper: bool) -> None:
        self._settings, self._store, self._auth, self._keeper = settings, store, auth, keeper
        self._tasks: list[asyncio.Task[None]] = []
        self.endpoint: Endpoint = Dispatch(Plane(store, settings), auth)
        self.inline = store.db.inline and (store.files is not None or store.driver.name == "inmemory")

    @classmethod
    async def open(cls, settings: Settings, seat: Seat) -> RegistryApp:
        store = await open_store(settings)
        return cls(settings, store, authenticator(settings.auth), keeper=seat.index == 0)

    async def start(self) -> None:
        self._store.adoption = Adoption(self._store)
        if self._keeper:
            await journal.replay(self._store)
            loop = asyncio.get_running_loop()
            self._tasks.append(loop.create_task(self._adopt()))
            self._tasks.append(loop.create_task(sweeper.run(self._store, self._settings.storage.upload_expiry)))

    async def _adopt(self) -> None:
        assert self._store.adoption is not None
        await self._store.adoption.scan()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._auth.close()
        await close_store(self._store)

    def ready(self) -> str:
        return ""


def serve(loaded: Loaded) -> int:
    """Serve until SIGTERM; the exit code."""
    settings = loaded.settings
    file = file_of(data_folder(settings))
    if not settings.database.url and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(f"sqlite:///{file}")
        metadata.create_all(engine)
        engine.dispose()
    uvloop.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    sockets = listen(settings.http.addr, settings.http.net)
    app = await RegistryApp.open(settings, Seat(index=0))
    await app.start()
    server = Server(app, settings.http, sockets)
    await server.start()
    print(f"cargohold listens on http://{settings.http.addr}, data in {data_folder(settings).absolute()}", flush=True)  # noqa: T201
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await server.drain()
    await server.stop()
    await app.stop()
