"""The process of one worker: its loop, its signals, its heartbeat.

    SIGTERM  drain: 503 for new requests, running ones end, exit 0     again: exit at once
    SIGUSR1  retire: a newer worker has taken over; serve what is connected, exit 0
    the supervisor is gone (its pipe closes): as fast as possible

Reports to the supervisor through a pipe, one line each: `ready`, or `failed <why>` before it exits with 3. Once a second it writes its
slot of the scoreboard, its counts, its access log, and looks whether the certificate was renewed.

Callers: supervisor.py, right after the fork. Nothing here may run before the fork.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvloop

from cargohold.config.settings import Settings
from cargohold.http.call import Call
from cargohold.http.listen import StartRefused
from cargohold.http.scoreboard import LEAVING, SERVING, STARTING, Scoreboard
from cargohold.http.server import MakeWorkerApp, Seat, Server, WorkerApp
from cargohold.http.tls import Certificate
from cargohold.telemetry import log, metrics
from cargohold.telemetry.access import AccessLog, Entry
from cargohold.telemetry.logs import words

BEAT = 1.0
STOP_SECONDS = 10.0
FAILED = 3
ADMIN = "admin"
"""The role of the process that serves admin.addr; the others are worker-0, worker-1, ..."""


@dataclass(frozen=True)
class Post:
    """Everything a worker is given. `life` is the reading end of a pipe that closes when the supervisor dies."""

    role: str
    seat: Seat
    slot: int
    settings: Settings
    make_app: MakeWorkerApp
    sockets: list[socket.socket]
    scoreboard: Scoreboard
    folder: str
    life: int
    report: int
    encrypted: bool


def work(post: Post) -> int:
    """Runs until told to end; the exit code of the process."""
    metrics.reset()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Worker(post).run())


def observer(access: AccessLog | None) -> Callable[[Call, int, int, int, float], None]:
    """What is done with each answer: counted, and written to the access log when there is one."""
    count = metrics.request_answered

    def answered(call: Call, status: int, received: int, sent: int, seconds: float) -> None:
        count(call.route, call.method, status, received, sent, seconds)
        if access is not None:
            actor = getattr(call.actor, "name", None) or ""
            referer, agent = call.header(b"referer") or "", call.header(b"user-agent") or ""
            target = call.method, call.path, call.query
            entry = Entry(call.client, actor, *target, status, sent, received, seconds, call.route, referer, agent, call.id)
            access.write(entry)

    return answered


class _Worker:
    def __init__(self, post: Post) -> None:
        self._post = post
        self._access = AccessLog(post.settings.log.accesslog) if post.settings.log.accesslog != "off" and post.role != ADMIN else None
        self._state = STARTING
        self._app: WorkerApp | None = None
        self._server: Server | None = None
        self._certificate: Certificate | None = None
        self._ending: asyncio.Future[str]

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        self._ending = loop.create_future()
        loop.add_signal_handler(signal.SIGTERM, self._end, "drain")
        loop.add_signal_handler(signal.SIGUSR1, self._end, "retire")
        loop.add_reader(self._post.life, self._end, "orphan")
        starting = loop.create_task(self._start())
        waited: set[asyncio.Future[Any]] = {starting, self._ending}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            return 0
        if (error := starting.exception()) is not None:
            if not isinstance(error, StartRefused):
                log.error("a worker could not start", worker=self._post.role, exc_info=error)
            self._report(f"failed {error if isinstance(error, StartRefused) else words(error)}")
            return FAILED
        self._state = SERVING
        self._beat()
        beating = loop.create_task(self._beat_on())
        self._report("ready")
        how = await self._ending
        await self._leave(how)
        beating.cancel()
        self._beat()
        return 0

    async def _start(self) -> None:
        post = self._post
        self._beat()
        if post.encrypted:
            self._certificate = Certificate(post.settings.http.tls)
        self._app = await post.make_app(post.seat)
        await self._app.start()
        self._server = Server(self._app, post.settings.http, post.sockets, certificate=self._certificate, observe=observer(self._access))
        await self._server.start()

    def _report(self, line: str) -> None:
        os.write(self._post.report, (" ".join(line.split()) + "\n").encode("utf-8", "replace"))

    def _end(self, how: str) -> None:
        if not self._ending.done():
            self._ending.set_result(how)
        elif how != "retire":
            os._exit(0)
        if how == "orphan":
            asyncio.get_running_loop().remove_reader(self._post.life)

    async def _leave(self, how: str) -> None:
        assert self._server is not None and self._app is not None
        self._state = LEAVING
        self._beat()
        if how == "drain" and not await self._server.drain():
            log.warning("requests still ran when http.draintimeout was over", worker=self._post.role)
        elif how == "retire":
            await self._server.retire()
        await self._server.stop()
        try:
            await asyncio.wait_for(self._app.stop(), STOP_SECONDS if how != "orphan" else 2.0)
        except TimeoutError:
            log.error("a worker did not stop in time", worker=self._post.role)

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            self._beat()

    def _beat(self) -> None:
        post = self._post
        if post.role != ADMIN:
            post.scoreboard.write(post.slot, os.getpid(), self._state, self._app.ready() if self._app is not None else "")
        if self._certificate is not None:
            self._certificate.look()
        if self._access is not None:
            self._access.flush()
            dropped, self._access.dropped = self._access.dropped, 0
            if dropped:
                metrics.access_lines_dropped.add(by=dropped)
        if self._server is not None:
            metrics.connections.set(len(self._server.state.connections))
            metrics.in_flight.set(self._server.state.running())
        times = os.times()
        metrics.cpu_seconds.set(times.user + times.system, post.role)
        metrics.resident_bytes.set(_resident(), post.role)
        metrics.flush(post.folder)


def _resident() -> float:
    try:
        with open("/proc/self/statm", "rb") as file:
            return float(int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE"))
    except OSError:
        return 0.0  # not Linux
