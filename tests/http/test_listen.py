"""Addresses and sockets: what can be bound is, what cannot says why in words."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from cargohold.http.listen import StartRefused, listen, split_address, url_of


@pytest.mark.parametrize(
    ("text", "pair"),
    [("127.0.0.1:5000", ("127.0.0.1", 5000)), (":5000", ("", 5000)), ("[::1]:80", ("::1", 80)), ("localhost:0", ("localhost", 0))],
)
def test_addresses(text: str, pair: tuple[str, int]) -> None:
    assert split_address(text) == pair


@pytest.mark.parametrize("text", ["", "5000", "localhost", "a:b", "a:70000", "::1:5000", "a:-1", "127.0.0.1:"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(StartRefused, match="is not an address to listen on"):
        split_address(text)


@pytest.mark.parametrize(("address", "url"), [("127.0.0.1:0", "http://127.0.0.1:"), ("[::1]:0", "http://[::1]:")])
def test_listening(address: str, url: str) -> None:
    (listener,) = listen(address)
    assert url_of(listener, tls=False).startswith(url)
    socket.create_connection(listener.getsockname()[:2], timeout=2).close()
    listener.close()


def test_every_address_of_the_machine() -> None:
    (listener,) = listen(":0")
    port = listener.getsockname()[1]
    socket.create_connection(("127.0.0.1", port), timeout=2).close()
    listener.close()


def test_a_taken_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(StartRefused) as refused:
        listen(f"127.0.0.1:{other.getsockname()[1]}")
    assert "Another program listens on port" in str(refused.value)
    assert "http.addr" in str(refused.value)


def test_foreign_and_unknown_hosts() -> None:
    with pytest.raises(StartRefused, match="not an address of this machine"):
        listen("192.0.2.1:0")
    with pytest.raises(StartRefused, match="cannot be resolved"):
        listen("no-such-host.invalid:5000", setting="admin.addr")


def test_a_net_that_is_not_there() -> None:
    with pytest.raises(StartRefused, match="tcp or unix"):
        listen("127.0.0.1:0", "udp")


def test_unix_sockets(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    (listener,) = listen(path, "unix")
    assert url_of(listener, tls=False) == f"unix:{path}"
    assert os.stat(path).st_mode & 0o777 == 0o660
    with pytest.raises(StartRefused, match="Another program listens"):
        listen(path, "unix")
    listener.close()
    (again,) = listen(path, "unix")  # what a crash left is taken over
    again.close()


def test_a_file_at_the_path_of_a_socket_stays(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(StartRefused, match="is not a socket"):
        listen(str(tmp_path / "s"), "unix")
    with pytest.raises(StartRefused, match="Cannot make the socket"):
        listen(str(tmp_path / "no" / "s"), "unix")
    assert (tmp_path / "s").read_text() == "precious"
