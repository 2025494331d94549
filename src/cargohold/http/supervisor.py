"""The first process: binds the sockets, forks the workers, keeps them alive, ends them.

    serve(load) --load()--> Plan --check, bind--> fork workers (and admin) --all ready--> one line: where it listens
        a worker dies       another is forked, at once the first time, then with growing pauses
        SIGHUP              load() again, new workers; when all are ready the old ones retire; if one fails, the old ones stay
        SIGTERM, SIGINT     not ready, workers drain (at most http.draintimeout), exit 0; a second one: everything ends at once

Invariants
- This process has no thread and no event loop, and opens nothing but sockets, pipes and files: it can fork at any time.
- The listening sockets stay open here, so no connection is refused while workers come and go.
- Workers hold the reading end of a pipe that only this process can write: they end when it dies, however it dies.

Callers: cli/ (`cargohold registry serve`), tests through a script.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from cargohold.config.settings import Settings
from cargohold.http import tls
from cargohold.http.admin import admin_app
from cargohold.http.listen import StartRefused, listen, url_of
from cargohold.http.scoreboard import SLOTS, Scoreboard
from cargohold.http.server import MakeWorkerApp, Seat
from cargohold.http.worker import ADMIN, FAILED, STOP_SECONDS, Post, work
from cargohold.telemetry import log, metrics

STABLE_SECONDS = 10.0
LONGEST_PAUSE = 30.0


@dataclass(frozen=True)
class Plan:
    """What to serve. `make_app` runs in each worker, after the fork, inside its event loop."""

    settings: Settings
    make_app: MakeWorkerApp

    def workers(self) -> int:
        return min(self.settings.workers or len(os.sched_getaffinity(0)), SLOTS // 4)

    def roles(self) -> list[tuple[str, int]]:
        workers = [(f"worker-{index}", index) for index in range(self.workers())]
        return [*workers, (ADMIN, 0)] if self.settings.admin.addr else workers


@dataclass
class Child:
    pid: int
    role: str
    index: int
    slot: int
    generation: int
    report: int
    born: float
    ready: bool = False
    heard: str = ""
    kill_at: float = 0.0
    """When it is killed because it should have left; 0: it may stay."""


@dataclass
class Return:
    """A worker that died and comes back."""

    due: float
    role: str
    index: int


def serve(load: Callable[[], Plan], *, announce: Callable[[str], None] | None = None) -> int:
    """Runs until told to end; the exit code of the program. Raises StartRefused when it cannot start, and whatever `load` raises.

    `load` reads the configuration; it is called again on SIGHUP. `announce` gets the one line that says where the server listens.
    """
    supervisor = Supervisor(load, announce or _say)
    try:
        return supervisor.run()
    finally:
        supervisor.close()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Supervisor:
    def __init__(self, load: Callable[[], Plan], announce: Callable[[str], None]) -> None:
        self._load, self._announce = load, announce
        self._plan = load()
        self._bound = self._plan.settings
        http, admin = self._bound.http, self._bound.admin
        self._encrypted = bool(http.tls.certificate)
        if self._encrypted:
            for warning in tls.check(http.tls):
                log.warning(warning)
        self._sockets = listen(http.addr, http.net)
        try:
            self._admin_sockets = listen(admin.addr, setting="admin.addr") if admin.addr else []
        except StartRefused:
            _close(self._sockets, http.addr, http.net)
            raise
        self._scoreboard = Scoreboard()
        try:
            self._folder = tempfile.mkdtemp(prefix="cargohold-")
        except OSError as error:
            raise StartRefused(f"No temporary folder can be made, set TMPDIR to a folder that can be written: {error.strerror}") from None
        self._life, self._lifeline = os.pipe()
        self._wake, self._waker = os.pipe()
        for end in (self._wake, self._waker):
            os.set_blocking(end, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._caught: list[int] = []
        self._children: dict[int, Child] = {}
        self._returns: list[Return] = []
        self._deaths: dict[str, int] = {}
        self._generation = 1
        self._incoming: tuple[int, Plan] | None = None
        self._announced = self._stopping = self._reload_again = False

    def run(self) -> int:
        before = self._catch_signals()
        try:
            gc.freeze()  # what was imported is shared with the workers; a collection would write to every page of it
            self._scoreboard.expect(self._plan.workers())
            self._fork_all(self._plan, self._generation)
            while self._children or self._returns:
                self._wait()
                self._take_signals()
                self._reap()
                self._act_on_time()
            return 0
        finally:
            self._kill(list(self._children.values()))
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)

    def close(self) -> None:
        _close(self._sockets, self._bound.http.addr, self._bound.http.net)
        _close(self._admin_sockets, "", "tcp")
        self._selector.close()
        for end in (self._life, self._lifeline, self._wake, self._waker):
            os.close(end)
        shutil.rmtree(self._folder, ignore_errors=True)

    # Forking

    def _fork_all(self, plan: Plan, generation: int) -> None:
        for role, index in plan.roles():
            self._fork(plan, generation, role, index)

    def _fork(self, plan: Plan, generation: int, role: str, index: int) -> None:
        slot = min(set(range(SLOTS)) - {child.slot for child in self._children.values()})
        reading, writing = os.pipe()
        admin = role == ADMIN
        post = Post(
            role=role,
            seat=Seat(index),
            slot=slot,
            settings=plan.settings,
            make_app=admin_app(self._scoreboard, self._folder, plan.settings.admin.metrics_path) if admin else plan.make_app,
            sockets=self._admin_sockets if admin else self._sockets,
            scoreboard=self._scoreboard,
            folder=self._folder,
            life=self._life,
            report=writing,
            encrypted=self._encrypted and not admin,
        )
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._become(post, reading)
        os.close(writing)
        os.set_blocking(reading, False)
        child = Child(pid, role, index, slot, generation, reading, time.monotonic())
        self._children[pid] = child
        self._selector.register(reading, selectors.EVENT_READ, child)

    def _become(self, post: Post, reading: int) -> None:
        """The child: lets go of what is the supervisor's, works, ends. Never returns."""
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # a terminal sends these to the whole group; the supervisor decides
            self._selector.close()
            for end in (self._lifeline, self._wake, self._waker, reading, *(child.report for child in self._children.values())):
                os.close(end)
            for unneeded in self._sockets if post.role == ADMIN else self._admin_sockets:
                unneeded.close()
            code = work(post)
        except BaseException as error:
            log.error("a worker failed", worker=post.role, exc_info=error)
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    # What happens

    def _catch_signals(self) -> dict[int, Any]:
        def caught(number: int, frame: FrameType | None) -> None:
            self._caught.append(number)

        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        return {number: signal.signal(number, caught) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)}

    def _wait(self) -> None:
        now = time.monotonic()
        dues = [back.due for back in self._returns] + [child.kill_at for child in self._children.values() if child.kill_at]
        timeout = max(0.0, min(dues) - now) if dues else None
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
            else:
                self._hear(key.data)

    def _hear(self, child: Child) -> None:
        try:
            data = os.read(child.report, 4096)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(child.report)
            return
        child.heard += data.decode("utf-8", "replace")
        if not child.ready and "ready\n" in child.heard:
            child.ready = True
            self._someone_is_ready()

    def _someone_is_ready(self) -> None:
        if self._incoming is not None:
            generation, plan = self._incoming
            if all(child.ready for child in self._children.values() if child.generation == generation):
                self._hand_over(generation, plan)
        elif not self._announced and all(child.ready for child in self._children.values()):
            self._announced = True
            self._announce(self._where())
            self._reload_if_asked()

    def _where(self) -> str:
        urls = ", ".join(url_of(listener, tls=self._encrypted) for listener in self._sockets)
        count = sum(child.role != ADMIN for child in self._children.values())
        line = f"Listening on {urls} ({count} worker{'s' if count != 1 else ''})"
        if self._admin_sockets:
            line += f", metrics on {', '.join(url_of(listener, tls=False) for listener in self._admin_sockets)}"
        return line

    def _reap(self) -> None:
        for child in list(self._children.values()):
            if child.pid not in self._children:
                continue  # it was killed because of what happened to another one
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid == child.pid:
                self._hear_last(child)
                self._bury(child)
                self._after_death(child, status)

    def _hear_last(self, child: Child) -> None:
        with contextlib.suppress(OSError):
            child.heard += os.read(child.report, 65536).decode("utf-8", "replace")

    def _bury(self, child: Child) -> None:
        del self._children[child.pid]
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(child.report)
        os.close(child.report)
        self._scoreboard.clear(child.slot)
        metrics.fold(self._folder, child.pid)

    def _after_death(self, child: Child, status: int) -> None:
        if self._stopping:
            if all(other.role == ADMIN for other in self._children.values()):
                self._end(list(self._children.values()), signal.SIGTERM, 2.0)
            return
        why = _why(child, status)
        if self._incoming is not None and child.generation == self._incoming[0]:
            self._give_up_reload(child, why)
        elif not self._announced and not os.WIFSIGNALED(status):  # one that was killed had nothing against the start
            raise StartRefused(why)
        elif child.generation == self._generation and not child.kill_at:
            self._come_back(child, why)

    def _come_back(self, child: Child, why: str) -> None:
        now = time.monotonic()
        deaths = self._deaths.get(child.role, 0) + 1 if now - child.born < STABLE_SECONDS else 0
        self._deaths[child.role] = deaths
        pause = min(LONGEST_PAUSE, 0.1 * 2**deaths) if deaths else 0.0
        log.error("a worker died, another takes its place", worker=child.role, pid=child.pid, reason=why, pause=pause)
        self._returns.append(Return(now + pause, child.role, child.index))

    def _act_on_time(self) -> None:
        now = time.monotonic()
        late = [child for child in self._children.values() if child.kill_at and child.kill_at <= now]
        for child in late:
            log.warning("a worker did not leave in time and is killed", worker=child.role, pid=child.pid)
        self._kill(late)
        due = [back for back in self._returns if back.due <= now]
        self._returns = [back for back in self._returns if back.due > now]
        for back in due:
            self._fork(self._plan, self._generation, back.role, back.index)

    # Signals

    def _take_signals(self) -> None:
        caught, self._caught = self._caught, []
        for number in caught:
            if number == signal.SIGHUP and not self._stopping:
                self._reload()
            elif number in (signal.SIGTERM, signal.SIGINT):
                self._stop()

    def _stop(self) -> None:
        if self._stopping:
            log.warning("told to end twice: ending at once")
            self._kill(list(self._children.values()))
            return
        self._stopping = True
        self._scoreboard.set_draining()
        self._returns.clear()
        log.info("shutting down", draintimeout=self._plan.settings.http.draintimeout)
        workers = [child for child in self._children.values() if child.role != ADMIN]
        self._end(workers or list(self._children.values()), signal.SIGTERM, self._patience())

    def _patience(self) -> float:
        return self._plan.settings.http.draintimeout + STOP_SECONDS + 5.0

    def _end(self, children: list[Child], number: int, patience: float) -> None:
        for child in children:
            child.kill_at = time.monotonic() + patience
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, number)

    def _kill(self, children: list[Child]) -> None:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, 0)
            if child.pid in self._children:
                self._bury(child)

    # Reload

    def _reload(self) -> None:
        if self._incoming is not None or not self._announced:
            self._reload_again = True
            return
        try:
            plan = self._load()
            if plan.settings.http.tls.certificate:
                tls.check(plan.settings.http.tls)
        except Exception as error:
            log.error("the new configuration is not used, the old one stays", reason=str(error))
            return
        self._warn_unchangeable(plan.settings)
        self._incoming = (self._generation + 1, plan)
        self._fork_all(plan, self._generation + 1)
        log.info("reloading", workers=len(plan.roles()))

    def _warn_unchangeable(self, new: Settings) -> None:
        old = self._bound
        for name, changed in (
            ("http.addr", (old.http.addr, old.http.net) != (new.http.addr, new.http.net)),
            ("http.tls.certificate", bool(old.http.tls.certificate) != bool(new.http.tls.certificate)),
            ("admin.addr", old.admin.addr != new.admin.addr),
        ):
            if changed:
                log.warning("this setting changes only with a restart", setting=name)

    def _hand_over(self, generation: int, plan: Plan) -> None:
        leaving = [child for child in self._children.values() if child.generation != generation]
        self._plan, self._generation, self._incoming = plan, generation, None
        self._scoreboard.expect(plan.workers())
        self._returns.clear()
        self._deaths.clear()
        self._end(leaving, signal.SIGUSR1, self._patience())
        log.info("reloaded", workers=len(plan.roles()))
        self._reload_if_asked()

    def _reload_if_asked(self) -> None:
        """A SIGHUP that came while another reload, or the start, was under way."""
        if self._reload_again:
            self._reload_again = False
            self._reload()

    def _give_up_reload(self, child: Child, why: str) -> None:
        log.error("a new worker could not start, the old ones stay", worker=child.role, reason=why)
        self._incoming = None
        self._reload_again = False
        self._kill([other for other in self._children.values() if other.generation == child.generation])


def _why(child: Child, status: int) -> str:
    for line in child.heard.splitlines():
        if line.startswith("failed "):
            return line.removeprefix("failed ")
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"{child.role} was ended by {signal.Signals(-code).name}"
    return f"{child.role} ended with code {code}" + (" while it was starting" if code == FAILED else "")


def _close(sockets: list[socket.socket], address: str, net: str) -> None:
    for listener in sockets:
        listener.close()
    if net == "unix":
        with contextlib.suppress(OSError):
            os.unlink(address)
