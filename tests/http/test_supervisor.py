"""Processes: start, restart, drain, reload, and what is left behind (nothing)."""

from __future__ import annotations

import os
import signal
import ssl
import threading
import time
from pathlib import Path

import pytest

from .certificates import Authority
from .processes import alive, processes
from .serving import Client


def until(happens: object, timeout: float = 10.0) -> None:
    assert callable(happens)
    deadline = time.monotonic() + timeout
    while not happens():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_start_answer_and_end(tmp_path: Path) -> None:
    with processes(tmp_path) as server:
        assert server.line == f"Listening on http://127.0.0.1:{server.port} (2 workers)\n"
        assert server.ask("/v2/").status == 200
        assert len(server.pids(2)) == 2
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert server.leftovers() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_answer_comes_quickly(tmp_path: Path, workers: int) -> None:
    with processes(tmp_path, workers=workers) as server:
        server.ask("/v2/")
        assert time.monotonic() - server.began < 3  # about a third of a second on an idle machine


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with processes(tmp_path) as server:
        first, second = server.pids(2)
        os.kill(first, signal.SIGKILL)
        server.wait_for("ended by SIGKILL")
        until(lambda: len(server.pids(2) | {second}) == 2 and first not in server.pids(2))
        assert server.ask("/v2/").status == 200


def test_a_worker_that_dies_again_and_again_is_given_pauses(tmp_path: Path) -> None:
    with processes(tmp_path, workers=1) as server:
        for _ in range(3):
            with pytest.raises((EOFError, ConnectionError)):
                server.ask("/v2/die")
            server.pids(1)
        log = server.log()
        assert [float(line.rpartition("pause=")[2]) for line in log.splitlines() if "pause=" in line] == [0.2, 0.4, 0.8]


def test_sigterm_finishes_running_requests_and_refuses_new_ones(tmp_path: Path) -> None:
    with processes(tmp_path, admin={"addr": "127.0.0.1:0"}) as server:
        busy = [server.client() for _ in range(6)]
        for client in busy:
            client.send(b"GET /v2/slow?1.2 HTTP/1.1\r\nHost: x\r\n\r\n")
        upload = server.client()
        upload.send(b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
        time.sleep(0.3)
        server.signal(signal.SIGTERM)
        time.sleep(0.3)
        refused = server.ask("/v2/")
        assert (refused.status, refused.headers["connection"]) == (503, "close")
        assert b"UNAVAILABLE" in refused.body
        ready = server.ask_admin("/readyz")
        assert (ready.status, b"shutting down" in ready.body) == (503, True)
        assert server.ask_admin("/healthz").status == 200
        assert upload.ask(b"def").body == b"6"
        assert [client.answer().body for client in busy] == [b"slow"] * 6
        assert server.wait() == 0


def test_a_drain_ends_after_its_time(tmp_path: Path) -> None:
    with processes(tmp_path, http={"addr": "127.0.0.1:0", "draintimeout": 0.5}) as server:
        client = server.client()
        client.send(b"GET /v2/slow?60 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        begin = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert time.monotonic() - begin < 5
        assert client.closed()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(tmp_path: Path, number: int) -> None:
    with processes(tmp_path) as server:
        client = server.client()
        client.send(b"GET /v2/slow?60 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        server.signal(number)
        time.sleep(0.2)
        assert server.process.poll() is None
        server.signal(number)
        assert server.wait(3) == 0


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    with processes(tmp_path) as server:
        pids = server.pids(2)
        server.signal(signal.SIGKILL)
        server.wait()
        until(lambda: not any(alive(pid) for pid in pids), 5)


def test_sighup_changes_the_configuration_without_a_refused_connection(tmp_path: Path) -> None:
    with processes(tmp_path) as server:
        before = server.pids(2)
        failures: list[str] = []
        names: set[str] = set()
        end = threading.Event()

        def keep_asking() -> None:
            while not end.is_set():
                try:
                    answer = server.ask("/v2/pid")
                    names.add(answer.body.split()[1].decode())
                    if answer.status != 200:
                        failures.append(str(answer))
                except OSError as error:
                    failures.append(repr(error))

        asker = threading.Thread(target=keep_asking)
        asker.start()
        running = server.client()
        running.send(b"GET /v2/slow?1.5 HTTP/1.1\r\nHost: x\r\n\r\n")
        kept = server.client()
        kept.get("/v2/")
        time.sleep(0.2)
        server.write({"http": {"addr": "127.0.0.1:0"}, "workers": 2, "name": "second"})
        server.signal(signal.SIGHUP)
        server.wait_for("reloaded")
        assert kept.get("/v2/").status == 200  # an idle connection of an old worker is still served
        assert running.answer().body == b"slow"
        until(lambda: not any(alive(pid) for pid in before))
        end.set()
        asker.join()
        assert failures == []
        assert names == {"fake", "second"}
        assert server.ask("/v2/pid").body.endswith(b"second")


@pytest.mark.parametrize(
    ("settings", "words"), [({"fail": "the database is gone"}, "the database is gone"), ({"workers": "x"}, "is not used")]
)
def test_a_bad_reload_changes_nothing(tmp_path: Path, settings: dict[str, object], words: str) -> None:
    with processes(tmp_path) as server:
        before = server.pids(2)
        server.write({"http": {"addr": "127.0.0.1:0"}, "workers": 2, **settings})
        server.signal(signal.SIGHUP)
        server.wait_for(words)
        time.sleep(0.2)
        assert server.pids(2) == before
        server.write({"http": {"addr": "127.0.0.1:0"}, "workers": 1, "name": "mended"})
        server.signal(signal.SIGHUP)
        server.wait_for("reloaded")
        until(lambda: server.ask("/v2/pid").body.endswith(b"mended"))


def test_what_cannot_start_says_why_in_one_line_and_exits_with_2(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    old = authority.issue("old", days=(-9, -2))
    cases: list[tuple[dict[str, object], str]] = [
        ({"fail": "the database is gone"}, "the database is gone"),
        ({"http": {"addr": "nonsense"}}, "is not an address"),
        ({"http": {"addr": "192.0.2.1:5000"}}, "not an address of this machine"),
        ({"http": {"addr": "127.0.0.1:0", "tls": {"certificate": old[0], "key": old[1]}}}, "expired on"),
    ]
    for settings, words in cases:
        with processes(tmp_path, ready=False, **settings) as server:
            assert server.wait() == 2
            assert words in server.log()
            assert len(server.log().splitlines()) == 1
            assert server.leftovers() == []


def test_a_taken_port_is_refused_and_ipv6_works(tmp_path: Path) -> None:
    with processes(tmp_path, http={"addr": "[::1]:0"}) as server:
        assert server.line.startswith("Listening on http://[::1]:")
        other = tmp_path / "other"
        other.mkdir()
        with processes(other, ready=False, http={"addr": f"[::1]:{server.line.split(':')[-1].split()[0]}"}) as second:
            assert second.wait() == 2
            assert "Another program listens" in second.log()


def test_a_unix_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "registry.sock"
    with processes(tmp_path, http={"addr": str(path), "net": "unix"}) as server:
        assert server.line == f"Listening on unix:{path} (2 workers)\n"
        assert path.is_socket()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert not path.exists()


def test_tls_is_renewed_by_itself_and_by_sighup(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("first", file="server")
    tls = {"certificate": pair[0], "key": pair[1]}
    with processes(tmp_path, http={"addr": "127.0.0.1:0", "tls": tls}, admin={"addr": "127.0.0.1:0"}) as server:
        assert server.line.startswith("Listening on https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(authority.path))

        def served() -> str:
            client = Client(server.port, context=context)
            assert client.get("/v2/").status == 200
            assert isinstance(client.socket, ssl.SSLSocket)
            name = str(client.socket.getpeercert())
            client.close()
            return name

        assert "first" in served()
        authority.issue("second", file="server")
        until(lambda: all("second" in served() for _ in range(6)))
        authority.issue("third", file="server")
        server.signal(signal.SIGHUP)
        server.wait_for("reloaded")
        until(lambda: all("third" in served() for _ in range(6)))
        assert b"cargohold_tls_certificate_expiry_seconds 1" in server.ask_admin("/metrics").body
