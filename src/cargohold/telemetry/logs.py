"""Structured log lines on standard error: `log.warning("what happened", digest=...)`.

    text   2026-11-24T12:00:00.123Z warning what happened digest=sha256:... request=ab12-3
    json   {"time": "...", "level": "warning", "msg": "what happened", "digest": "sha256:...", "request": "ab12-3"}

Field names every line may carry: time, level, msg, request (id of the request), error (the traceback), source (the library that spoke),
and the configured `log.fields`. Every value passes scrub.py. Lines of the standard library's logging come the same way.

`set_up` is called once by the process that the CLI starts, before the fork; until then warnings and errors go out as text.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import TracebackType

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from cargohold.telemetry import metrics
from cargohold.telemetry.scrub import REMOVED, is_secret, scrub_text, scrub_value

_LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}
_PLAIN = ("time", "level", "msg")

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request that the running code works for; empty outside requests."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class request_scope:
    """`with request_scope(id):` every log line inside carries the id."""

    __slots__ = ("_id", "_token")

    def __init__(self, id: str) -> None:
        self._id = id
        self._token: Token[str] | None = None

    def __enter__(self) -> None:
        self._token = request_id.set(self._id)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._token is not None:
            request_id.reset(self._token)


def set_up(level_name: str = "info", formatter: str = "text", fields: dict[str, str] | None = None) -> None:
    """Level, form and constant fields of all lines of this process and of those it forks; the values of settings `log.*`."""
    level = _LEVELS.get(level_name, logging.INFO)
    shape = _as_json if formatter == "json" else _as_text
    structlog.configure(
        processors=[_Fill(fields or {}), _scrub, shape],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _StandardError(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_FromLibraries()]
    root.setLevel(max(level, logging.INFO))
    for noisy in ("uvicorn.access", "asyncio", "botocore", "urllib3"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))


class _StandardError:
    """One `write` a line, so that lines of several processes do not mix."""

    def msg(self, message: str) -> None:
        data = message.encode("utf-8", "backslashreplace") + b"\n"
        try:
            os.write(sys.stderr.fileno(), data)
        except (OSError, ValueError):
            # standard error is closed or is not a file (captured by a test): the stream object knows what to do
            sys.stderr.write(message + "\n")

    debug = info = warning = warn = error = critical = exception = msg


class _FromLibraries(logging.Handler):
    """Brings lines of the standard library's logging into ours."""

    def emit(self, record: logging.LogRecord) -> None:
        trace = record.exc_info if record.exc_info and record.exc_info[0] else None
        log.log(record.levelno, record.getMessage(), source=record.name, **({"exc_info": trace} if trace else {}))


class _Fill:
    """Time, level, message, request id and the constant fields, in that order."""

    def __init__(self, fields: dict[str, str]) -> None:
        self._fields = fields

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        metrics.log_lines.add(method)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        filled: EventDict = {"time": now, "level": method, "msg": str(event.pop("event", ""))}
        error = _trace(event.pop("exc_info", None))
        filled.update(event)
        if "request" not in filled and (id := request_id.get()):
            filled["request"] = id
        for name, value in self._fields.items():
            filled.setdefault(name, value)
        if error:
            filled["error"] = error
        return filled


def _trace(error: object) -> str:
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    return "".join(traceback.format_exception(error)).rstrip() if isinstance(error, BaseException) else ""


def _scrub(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return {name: REMOVED if is_secret(name) and value else scrub_value(value) for name, value in event.items()}


def _as_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    return msgspec.json.encode(event).decode()


def _as_text(logger: WrappedLogger, method: str, event: EventDict) -> str:
    error = event.pop("error", None)
    line = f"{event['time']} {event['level']:<7} {_on_one_line(event['msg'])}"
    rest = [f"{name}={_quoted(value)}" for name, value in event.items() if name not in _PLAIN]
    if rest:
        line += "  " + " ".join(rest)
    if isinstance(error, str):
        line += "\n    " + error.replace("\n", "\n    ")
    elif error is not None:
        line += f" error={_quoted(error)}"
    return line


def _on_one_line(text: object) -> str:
    return str(text).replace("\r", "\\r").replace("\n", "\\n")


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = _on_one_line(text)
    return f'"{text}"' if " " in text or text == "" else text


def words(error: BaseException) -> str:
    """An error in one line, without secrets, for messages that are shown."""
    return scrub_text(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


set_up("warn")
