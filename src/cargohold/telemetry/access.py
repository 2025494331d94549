"""The access log on standard output: one line for each answer, buffered, cheap, without secrets.

    combined   <ip> - <user> [02/Jan/2006:15:04:05 +0000] "GET /v2/ HTTP/1.1" 200 2 "<referer>" "<agent>"     (Apache's form)
    json       {"time", "client", "actor", "method", "path", "query", "status", "bytes", "received", "seconds", "route", "agent", "request"}

Lines leave when 64 KiB wait or when `flush` is called (the worker does so every second), in pieces that end at a line and fit the
atomic write of a pipe, so lines of several workers never mix. A reader that stalls loses lines rather than stopping the server.
"""

from __future__ import annotations

import os
import select
import time
from typing import NamedTuple

import msgspec

from cargohold.telemetry.scrub import scrub_query

BUFFERED = 64 * 1024
KEPT = 4 * 1024 * 1024
ATOMIC = 4096
_LONGEST = 1024
_SHORT = 180

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Entry(NamedTuple):
    """What a line tells; times are seconds, sizes are bytes."""

    client: str
    actor: str
    method: str
    path: str
    query: str
    status: int
    sent: int
    received: int
    seconds: float
    route: str
    referer: str
    agent: str
    request: str


class AccessLog:
    def __init__(self, form: str, fd: int = 1) -> None:
        """`form`: combined or json. `fd`: where lines go; standard output."""
        self._shape = _json if form == "json" else _combined
        self._fd = fd
        self._lines: list[bytes] = []
        self._size = 0
        self._stalled = False
        self.dropped = 0

    def write(self, entry: Entry) -> None:
        line = self._shape(entry)
        if len(line) > ATOMIC:
            line = self._shape(_shortened(entry))
        if self._size > KEPT:
            self.dropped += 1
            return
        self._lines.append(line)
        self._size += len(line)
        if self._size > BUFFERED and not self._stalled:
            self.flush()

    def flush(self) -> None:
        """Writes what waits, as far as the reader takes it without making us wait."""
        poller = select.poll()
        poller.register(self._fd, select.POLLOUT)
        waiting, self._lines, self._size = self._lines, [], 0
        self._stalled = False
        position = 0
        while position < len(waiting):
            end, size = position, 0
            while end < len(waiting) and (size + len(waiting[end]) <= ATOMIC or end == position):
                size += len(waiting[end])
                end += 1
            try:
                if not poller.poll(0):
                    self._lines = waiting[position:]
                    self._size = sum(map(len, self._lines))
                    self._stalled = True  # the next try is the next second's
                    return
                os.write(self._fd, b"".join(waiting[position:end]))
            except OSError:
                self.dropped += len(waiting) - position
                return
            position = end


def _shortened(entry: Entry) -> Entry:
    """Fits `ATOMIC` also when every character has to be escaped: a longer write could wait for the reader, and all requests with it."""
    names = ("actor", "path", "query", "referer", "agent")
    return entry._replace(**{name: getattr(entry, name)[:_SHORT] for name in names})


_stamp: tuple[int, str] = (-1, "")


def _now() -> str:
    global _stamp
    second = int(time.time())
    if _stamp[0] != second:
        at = time.gmtime(second)
        text = f"{at.tm_mday:02d}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}:{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} +0000"
        _stamp = second, text
    return _stamp[1]


def _safe(text: str) -> str:
    """Shortened, and without what would end the quotes or the line."""
    text = text[:_LONGEST]
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(sign if sign.isascii() and sign.isprintable() and sign not in '"\\' else f"\\x{ord(sign):02x}" for sign in text)


def _combined(entry: Entry) -> bytes:
    target = entry.path if not entry.query else f"{entry.path}?{scrub_query(entry.query)}"
    request = f"{entry.method or '-'} {_safe(target) or '-'} HTTP/1.1"
    line = (
        f'{entry.client} - {_safe(entry.actor) or "-"} [{_now()}] "{request}" {entry.status} {entry.sent} '
        f'"{_safe(entry.referer)}" "{_safe(entry.agent)}"\n'
    )
    return line.encode()


def _json(entry: Entry) -> bytes:
    line = {
        "time": time.time(),
        "client": entry.client,
        "actor": entry.actor[:_LONGEST],
        "method": entry.method,
        "path": entry.path[:_LONGEST],
        "query": scrub_query(entry.query)[:_LONGEST],
        "status": entry.status,
        "bytes": entry.sent,
        "received": entry.received,
        "seconds": round(entry.seconds, 6),
        "route": entry.route,
        "agent": entry.agent[:_LONGEST],
        "request": entry.request,
    }
    return msgspec.json.encode(line) + b"\n"
