"""What protocol.py and exchange.py lean on inside uvicorn. A new uvicorn that changes one of these must fail here, loudly, before it
fails in a registry: read the new source, then change both sides."""

from __future__ import annotations

import asyncio
import inspect

import uvicorn
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from cargohold.config.settings import Http
from cargohold.http.call import Call
from cargohold.http.exchange import Exchange
from cargohold.http.protocol import DONE, Connection
from cargohold.http.replies import Reply
from cargohold.http.state import WorkerState


def parameters(of: object) -> list[str]:
    assert callable(of)
    return list(inspect.signature(of).parameters)


def names_used(of: object) -> set[str]:
    code = of.__code__  # type: ignore[attr-defined]  # a function of uvicorn
    return set(code.co_names)


def test_the_version_is_the_one_that_was_read() -> None:
    assert uvicorn.__version__.startswith("0.54."), "compare uvicorn's httptools_impl.py with http/protocol.py before this is raised"


def test_the_protocol_is_made_and_called_as_we_override_it() -> None:
    assert parameters(HttpToolsProtocol.__init__) == ["self", "config", "server_state", "app_state", "_loop"]
    for name in (
        "connection_made", "connection_lost", "eof_received", "data_received", "on_message_begin", "on_url", "on_header",
        "on_headers_complete", "on_body", "on_message_complete", "on_response_complete", "shutdown", "pause_writing", "resume_writing",
    ):  # fmt: skip
        assert parameters(getattr(Connection, name)) == parameters(getattr(HttpToolsProtocol, name)), name
    assert parameters(HttpToolsProtocol._start_asgi_task) == ["self", "cycle", "app"]


def test_what_super_does_is_what_we_count_on() -> None:
    assert {"headers", "scope", "url", "expect_100_continue"} <= names_used(HttpToolsProtocol.on_message_begin)
    assert {"pipeline", "appendleft", "_start_asgi_task", "response_complete"} <= names_used(HttpToolsProtocol.on_headers_complete)
    assert {"pipeline", "pop"} <= names_used(HttpToolsProtocol.on_response_complete)  # newest left, oldest right
    assert {"cycle", "response_complete", "disconnected", "message_event"} <= names_used(HttpToolsProtocol.connection_lost)
    assert not names_used(HttpToolsProtocol.on_url) & {"scope"}


def test_the_cycle_has_the_fields_that_an_exchange_has() -> None:
    source = inspect.getsource(RequestResponseCycle.__init__)
    loop = asyncio.new_event_loop()
    try:
        state = state_on(loop)
        connection = Connection(state, loop)
        call = Call("PUT", "/", "", [], client="", scheme="http", id="1")
        exchange = Exchange(connection, call, keep_alive=True, old=False, length=3, expects=False)
        for field in (
            "transport", "flow", "message_event", "on_response", "disconnected", "keep_alive", "waiting_for_100_continue", "body",
            "more_body", "response_started", "response_complete",
        ):  # fmt: skip
            assert f"self.{field}" in source, field
            assert hasattr(exchange, field), field
        assert DONE.response_complete
    finally:
        loop.close()


def test_a_fresh_connection_has_what_we_read() -> None:
    loop = asyncio.new_event_loop()
    try:
        connection = Connection(state_on(loop), loop)
        assert connection.cycle is None
        assert list(connection.pipeline) == []
        assert connection.connections is connection.server_state.connections
        assert connection.tasks is connection.server_state.tasks
    finally:
        loop.close()


def test_flow_control() -> None:
    assert parameters(FlowControl.__init__) == ["self", "transport"]
    for name in ("drain", "pause_reading", "resume_reading", "pause_writing", "resume_writing"):
        assert callable(getattr(FlowControl, name))
    assert flow_control.HIGH_WATER_LIMIT == 65536
    assert httptools_impl.STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"


def test_the_server_state() -> None:
    assert set(vars(ServerState())) == {"total_requests", "connections", "tasks", "default_headers"}


def state_on(loop: asyncio.AbstractEventLoop) -> WorkerState:
    async def endpoint(call: Call) -> Reply:
        return Reply(200, [])

    config = uvicorn.Config(endpoint, http=Connection, ws="none", lifespan="off", log_config=None, interface="asgi3")
    config.load()
    return WorkerState(Http(), endpoint, config, loop)
