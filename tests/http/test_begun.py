"""A coroutine whose first step ran outside a task goes on inside one as if nothing had happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from cargohold.http.exchange import Begun
from cargohold.http.replies import Reply

DONE = Reply(200, [])


def begin(coroutine: Coroutine[Any, Any, Reply]) -> Begun:
    return Begun(coroutine, coroutine.send(None))


async def goes_on(begun: Begun) -> Reply:
    return await begun


async def test_waits_for_what_was_already_asked_for() -> None:
    first: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> Reply:
        value = await first
        assert asyncio.current_task() is running
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.sleep(0.001)
        return Reply(value, [])

    running: asyncio.Task[Reply] | None = None
    begun = begin(work())
    running = asyncio.get_running_loop().create_task(goes_on(begun))
    await asyncio.sleep(0)
    first.set_result(201)
    assert (await running).status == 201


async def test_a_bare_turn_of_the_loop() -> None:
    async def work() -> Reply:
        await asyncio.sleep(0)
        return DONE

    assert await begin(work()) is DONE


@pytest.mark.parametrize("end", [lambda f: f.set_exception(KeyError("x")), lambda f: f.cancel()])
async def test_the_failure_of_what_it_waits_for_reaches_it(end: Callable[[asyncio.Future[None]], object]) -> None:
    first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> Reply:
        try:
            await first
        except (KeyError, asyncio.CancelledError):
            await asyncio.sleep(0)
            return DONE
        raise AssertionError("it must see the failure")

    running = asyncio.get_running_loop().create_task(goes_on(begin(work())))
    await asyncio.sleep(0)
    end(first)
    assert await running is DONE


@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_cancellation_reaches_it(stubborn: bool) -> None:
    seen: list[str] = []

    async def work() -> Reply:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            if not stubborn:
                raise
            await asyncio.sleep(0.001)
        return DONE

    running = asyncio.get_running_loop().create_task(goes_on(begin(work())))
    await asyncio.sleep(0)
    running.cancel()
    if stubborn:
        assert await running is DONE
    else:
        with pytest.raises(asyncio.CancelledError):
            await running
    assert seen == ["cancelled"]


async def test_its_own_error_comes_out() -> None:
    async def work() -> Reply:
        await asyncio.sleep(0)
        raise LookupError("own")

    with pytest.raises(LookupError, match="own"):
        await begin(work())
