"""The composition root: settings -> database, driver -> store, gates -> plane -> endpoint. The only file that knows all classes.

    serve(loaded)   supervisor: refuse early, migrate, fork; each worker builds its own `RegistryApp` after the fork
    fsck, rebuild   the same store without HTTP, for the command line

Nothing here opens a database or a storage client before the fork. Callers: cli/, cargohold.testing.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import click
import msgspec
import uvloop

from cargohold.auth.authenticator import Authenticator, authenticator
from cargohold.config.load import Loaded
from cargohold.config.settings import Settings
from cargohold.content import journal, sweeper
from cargohold.content.adoption import Adoption, forget_all
from cargohold.content.fsck import check
from cargohold.content.gates import Gates, PushGate, deletes_off, read_only
from cargohold.content.store import Store
from cargohold.db import migrate
from cargohold.db.connect import connect
from cargohold.errors import CargoholdError, Unavailable
from cargohold.http import supervisor
from cargohold.http.call import Endpoint
from cargohold.http.listen import StartRefused
from cargohold.http.server import Seat, WorkerApp
from cargohold.http.supervisor import Plan
from cargohold.registry.dispatch import Dispatch
from cargohold.registry.plane import Plane
from cargohold.storage.driver import Leftovers
from cargohold.storage.keys import CHECK
from cargohold.storage.open import MissingExtra, lay_out, load_driver, open_driver
from cargohold.telemetry import log, set_up

_WATCH = 5.0

_DRAFTS = 3600.0
"""Seconds after which a half-written file belongs to nobody."""


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
        self._unfit = ""
        self.endpoint: Endpoint = Dispatch(Plane(store, settings), auth)
        self.inline = store.db.inline and (store.files is not None or store.driver.name == "inmemory")

    @classmethod
    async def open(cls, settings: Settings, seat: Seat) -> RegistryApp:
        store = await open_store(settings)
        return cls(settings, store, authenticator(settings.auth), keeper=seat.index == 0)

    async def start(self) -> None:
        adoption = Adoption(self._store)
        self._store.adoption = adoption
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._watch()))
        if self._keeper:
            self._tasks.append(loop.create_task(self._keep(adoption)))
        else:
            self._tasks.append(loop.create_task(_until_done(self._walk_again)))

    async def _keep(self, adoption: Adoption) -> None:
        """The journal is replayed before its cursor moves on; the scan of an old tree may take hours beside all else."""
        await _until_done(self._mend)
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(sweeper.run(self._store, self._settings.storage.upload_expiry)))
        await _until_done(adoption.scan)

    async def _walk_again(self) -> None:
        """The worker before this one may have died between a commit and its link: the keeper looks at the last events again."""
        await journal.fall_behind(self._store)

    async def _mend(self) -> None:
        await journal.replay(self._store)
        if isinstance(self._store.driver, Leftovers):
            await self._store.driver.sweep(_DRAFTS)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._auth.close()
        await close_store(self._store)

    def ready(self) -> str:
        return self._unfit

    async def _watch(self) -> None:
        """Can this worker reach its database and its storage? Asked every few seconds, told by `ready`."""
        while True:
            try:
                self._unfit = await self._why_unfit()
            except Exception as error:  # a bug is told, and a worker of which nothing is known is not ready
                log.error("the look at database and storage failed", exc_info=error)
                self._unfit = "the look at database and storage failed"
            await asyncio.sleep(_WATCH)

    async def _why_unfit(self) -> str:
        """A read tells of a bucket that is not there, which a HEAD would not."""
        questions: list[tuple[str, Callable[[], Awaitable[object]]]] = [
            ("database", lambda: journal.newest(self._store)),
            ("database", lambda: sweeper.look(self._store)),
            ("storage", lambda: self._store.driver.read(f"{CHECK}ready")),
        ]
        for what, ask in questions:
            try:
                async with asyncio.timeout(_WATCH):  # wait_for of Python 3.11 may swallow a cancellation
                    await ask()
            except CargoholdError as error:
                return f"{what}: {error}"
            except TimeoutError:
                return f"{what}: no answer for {_WATCH:.0f} s"
        return ""


async def _until_done(work: Callable[[], Awaitable[None]]) -> None:
    """Again and again until storage and database let it end."""
    while True:
        try:
            return await work()
        except CargoholdError as error:
            log.warning("putting the tree in order failed; it is tried again", why=str(error))
        except Exception as error:  # without this the worker would serve on, its tree never put in order, and nobody would know
            log.error("putting the tree in order failed; it is tried again", exc_info=error)
        await asyncio.sleep(_WATCH)


def serve(loaded: Loaded) -> int:
    """Serve until SIGTERM; the exit code. Raises StartRefused and ConfigInvalid with the cause in a line each."""
    scratch: list[tempfile.TemporaryDirectory[str]] = []
    waiting: list[Loaded] = [loaded]

    def load() -> Plan:
        current = waiting.pop() if waiting else loaded.again(os.environ)
        settings = _prepared(current.settings, scratch)
        set_up(settings.log.level, settings.log.formatter, settings.log.fields)
        for notice in current.notices:
            log.warning(notice)

        async def make_app(seat: Seat) -> WorkerApp:
            return await RegistryApp.open(settings, seat)

        return Plan(settings, make_app)

    try:
        code = supervisor.serve(load, announce=lambda line: click.echo(f"{line}, {_where(loaded.settings)}"))
        if loaded.settings.storage.driver != "inmemory":
            uvloop.run(_close_journal(loaded.settings))
        return code
    finally:
        for folder in scratch:
            folder.cleanup()


async def _close_journal(settings: Settings) -> None:
    """Best effort: what is left undone here is done by the next start."""
    try:
        store = await open_store(settings)
    except CargoholdError as error:
        log.warning("the journal stays open until the next start", why=str(error))
        return
    try:
        await journal.close(store)
    except CargoholdError as error:
        log.warning("the journal stays open until the next start", why=str(error))
    finally:
        await close_store(store)


def _prepared(settings: Settings, scratch: list[tempfile.TemporaryDirectory[str]]) -> Settings:
    """Folder and schema are there before the first fork. `inmemory` lives in one process and leaves nothing behind."""
    if settings.storage.driver == "inmemory":
        scratch.append(tempfile.TemporaryDirectory(prefix="cargohold-"))
        storage = msgspec.structs.replace(settings.storage, rootdirectory=scratch[-1].name)
        database = msgspec.structs.replace(settings.database, synchronous="normal")
        settings = msgspec.structs.replace(settings, storage=storage, database=database, workers=1)
    authenticator(settings.auth).close()  # a missing password file is told here, in one line, not by every worker
    prepare(settings)
    return settings


def prepare(settings: Settings) -> None:
    """Load the driver's libraries, make the data folder and bring the schema up to date. Raises StartRefused."""
    try:
        load_driver(settings.storage)
    except MissingExtra as error:
        raise StartRefused(str(error)) from None
    folder = data_folder(settings)
    try:
        (folder / "_cargohold").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartRefused(f"cannot make the data folder {folder} (storage.rootdirectory): {error.strerror}") from None
    if not os.access(folder / "_cargohold", os.W_OK | os.X_OK):
        raise StartRefused(f"the data folder {folder} (storage.rootdirectory) is not writable for this user")
    with suppress(CargoholdError):  # a tree that cannot be written can still be read
        lay_out(settings.storage)
    try:
        done = migrate.upgrade(settings.database, folder)
    except migrate.SchemaTooNew as error:
        raise StartRefused(str(error)) from None
    except Unavailable as error:
        raise StartRefused(f"the database (database.url) cannot be used: {error}") from None
    if done and done[0] != migrate.REVISIONS[0]:
        log.info("the database was upgraded", revisions=",".join(done))


def _where(settings: Settings) -> str:
    if settings.storage.driver == "s3":
        return f"data in the bucket {settings.storage.s3.bucket}"
    if settings.storage.driver == "inmemory":
        return "data in memory"
    return f"data in {data_folder(settings).absolute()}"


def fsck(loaded: Loaded, *, repair: bool, quick: bool = False) -> int:
    """Print every fault; 1 when there are any that were not repaired."""

    async def run() -> int:
        left = total = 0
        store = await open_store(loaded.settings)
        try:
            for finding in await store.driver.check():
                if finding.fault:
                    click.echo(f"{finding.step}: {finding.fault}", err=True)
            store.adoption = Adoption(store)
            await store.adoption.scan()
            async for fault in check(store, repair=repair, quick=quick):
                total, left = total + 1, left + (not fault.repaired)
                click.echo(f"{fault.finding}\t{fault.subject}\t{fault.detail}{', repaired' if fault.repaired else ''}")
        finally:
            await close_store(store)
        click.echo(f"{total} faults, {left} left" if total else "no faults", err=True)
        return 1 if left else 0

    prepare(loaded.settings)
    return uvloop.run(run())


def rebuild(loaded: Loaded) -> int:
    """Recreate all rows of images from the tree: what `cargohold db rebuild` does after a database was lost."""

    async def run() -> int:
        store = await open_store(loaded.settings)
        try:
            await journal.replay(store)
            await forget_all(store)
            store.adoption = Adoption(store)
            await store.adoption.scan()
            click.echo(
                ", ".join(f"{count} {noun.replace('_', ' ')}" for noun, count in msgspec.structs.asdict(store.adoption.tally).items())
            )
        finally:
            await close_store(store)
        return 0

    prepare(loaded.settings)
    return uvloop.run(run())
