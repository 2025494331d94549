"""The second address: health, readiness, metrics over all workers."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cargohold.http import scoreboard
from cargohold.http.scoreboard import LEAVING, SERVING, STARTING, Scoreboard

from .processes import Processes, processes


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with processes(tmp_path_factory.mktemp("admin"), admin={"addr": "127.0.0.1:0"}) as server:
        yield server


def samples(server: Processes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = server.ask_admin("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        assert family.name.startswith("cargohold_"), family.name
        assert family.documentation
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_health_and_readiness(server: Processes) -> None:
    assert json.loads(server.ask_admin("/healthz").body) == {"status": "ok"}
    assert json.loads(server.ask_admin("/readyz").body) == {"status": "ready"}
    assert server.ask_admin("/v2/").status == 404


def test_a_worker_in_trouble_makes_the_server_not_ready(server: Processes) -> None:
    server.ask("/v2/trouble?the+disk+is+full")
    deadline = time.monotonic() + 5
    while (answer := server.ask_admin("/readyz")).status == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer.status == 503
    (reason,) = json.loads(answer.body)["reasons"]
    assert "the+disk+is+full" in reason
    for pid in server.pids(2):  # only workers know their trouble: new ones have none
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while server.ask_admin("/readyz").status != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert server.ask_admin("/readyz").status == 200


def test_requests_are_counted_over_workers_and_deaths(server: Processes) -> None:
    key = ("cargohold_http_requests_total", (("code", "200"), ("handler", "counted"), ("method", "GET")))
    pids = server.pids(2)
    for _ in range(40):
        assert server.ask("/v2/counted").status == 200
    time.sleep(1.3)
    assert samples(server)[key] == 40
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    server.wait_for("ended by SIGKILL")
    time.sleep(0.5)
    for _ in range(10):
        server.ask("/v2/counted")
    time.sleep(1.3)
    found = samples(server)
    assert found[key] == 50
    assert found["cargohold_http_request_duration_seconds_count", (("handler", "counted"),)] == 50
    assert found["cargohold_http_request_duration_seconds_bucket", (("handler", "counted"), ("le", "+Inf"))] == 50
    assert found["cargohold_http_sent_bytes_total", (("handler", "counted"),)] > 50 * 20
    workers = [labels for name, labels in found if name == "cargohold_process_resident_bytes"]
    assert sorted(dict(labels)["process"] for labels in workers) == ["admin", "worker-0", "worker-1"]


def test_the_scoreboard_says_why_not() -> None:
    board = Scoreboard()
    assert board.trouble() == ["0 of 1 workers are running"]
    board.write(3, 33, STARTING)
    assert board.trouble() == ["worker 33 is starting"]
    board.write(3, 33, SERVING)
    board.write(4, 44, LEAVING, "never mind")
    assert board.trouble() == []
    board.expect(2)
    assert board.trouble() == ["1 of 2 workers are running"]
    board.expect(1)
    board.write(3, 33, SERVING, "no database ü" * 30)
    assert board.trouble()[0].startswith("worker 33: no database")
    board.clear(3)
    board.set_draining()
    assert board.trouble() == ["the server is shutting down"]


def test_a_worker_that_does_not_turn_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Scoreboard()
    board.write(0, 11, SERVING)
    monkeypatch.setattr(scoreboard, "STALE_SECONDS", -1.0)
    assert "has not answered" in board.trouble()[0]
