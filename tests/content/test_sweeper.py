"""The sweeper: its questions do not outgrow the deadline of a read in the loop, and every worker learns of a full house."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from cargohold.auth.identity import ANYONE
from cargohold.content import sessions, sweeper
from cargohold.content.queries import uploads as rows
from cargohold.content.store import Store, utc_now
from cargohold.db.work import Work
from cargohold.errors import TooManyRequests
from tests.content.conftest import on_engines
from tests.content.shop import REPO, start


@on_engines
async def test_every_worker_refuses_uploads_beyond_the_cap(store: Store, second: Store) -> None:
    for worker in (store, second):
        worker.limits = msgspec.structs.replace(worker.limits, uploads=2)
    first = await start(store)
    await start(second)
    await sweeper.sweep(store, 3600)
    for worker in (store, second):
        await sweeper.look(worker)
        with pytest.raises(TooManyRequests):
            await start(worker)
    await sessions.cancel(store, ANYONE, REPO, first)
    await sweeper.sweep(store, 3600)
    await sweeper.look(second)
    assert await start(second)


@pytest.mark.parametrize("backend", ["sqlite+files"], indirect=True)
async def test_tens_of_thousands_of_open_uploads_are_swept(store: Store) -> None:
    """In the loop such a question would run into its deadline, and nothing would ever be swept again."""
    now = utc_now()

    async def many(work: Work) -> None:
        for _ in range(15_000):
            await rows.open_session(work, sessions.new_id(), REPO, "anonymous:", "", now)

    for _ in range(3):
        await store.db.write(many)
    assert await sweeper.sweep(store, 3600) == 0


@pytest.mark.parametrize("backend", ["sqlite+memory"], indirect=True)
async def test_bug_does_not_end_the_housekeeping(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = asyncio.Queue[int]()

    async def broken(store: Store, expiry: float) -> int:
        turns.put_nowait(1)
        raise ValueError("a bug")

    monkeypatch.setattr(sweeper, "sweep", broken)
    monkeypatch.setattr(sweeper, "EVERY", 0.01)
    running = asyncio.create_task(sweeper.run(store, 3600))
    for _ in range(2):
        await asyncio.wait_for(turns.get(), 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
