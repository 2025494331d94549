"""TLS: what is refused before the start, what is served, renewal without a restart, client certificates."""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from cargohold.config.settings import Http, Tls
from cargohold.http.listen import StartRefused
from cargohold.http.tls import check

from .certificates import Authority
from .serving import Client, Running, running


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls(pair: tuple[str, str], **more: object) -> Tls:
    return Tls(certificate=pair[0], key=pair[1], **more)  # type: ignore[arg-type]  # the tests choose the fields


@pytest.fixture
def server(authority: Authority) -> Iterator[Running]:
    (authority.folder / "large").write_bytes(bytes(range(251)) * 40_000)
    with running(authority.folder, Http(tls=tls(authority.issue("server")))) as server:
        yield server


def trusting(authority: Authority, pair: tuple[str, str] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.path))
    if pair:
        context.load_cert_chain(*pair)
    return context


def subject(client: Client) -> str:
    assert isinstance(client.socket, ssl.SSLSocket)
    found = client.socket.getpeercert()
    assert found is not None
    return str(found["subject"])


def test_a_good_certificate_passes(authority: Authority) -> None:
    assert check(tls(authority.issue("server"))) == []


def test_what_a_client_will_object_to_is_a_warning(authority: Authority) -> None:
    (warning,) = check(tls(authority.issue("server", san=False)))
    assert "subjectAltName" in warning
    (warning,) = check(tls(authority.issue("server", days=(-1, 3))))
    assert "expires on" in warning


def test_what_no_client_can_use_is_refused(authority: Authority) -> None:
    good, other = authority.issue("server"), authority.issue("other")
    empty = authority.folder / "empty"
    empty.write_text("nothing")
    cases = {
        "expired on": tls(authority.issue("old", days=(-9, -2))),
        "is valid from": tls(authority.issue("new", days=(2, 9))),
        "is not the key of": tls((good[0], other[1])),
        "passphrase": tls(authority.issue("locked", passphrase=b"x")),
        "holds no PEM certificate": tls((str(empty), good[1])),
        "holds no PEM private key": tls((good[0], str(empty))),
        "cannot be read": tls(("/no/such/file", good[1])),
        "http.tls.key is not": tls((good[0], "")),
        "minimumtls": tls(good, minimumtls="tls1.1"),
        "clientcas": tls(good, clientcas=[str(empty)]),
    }
    for words, settings in cases.items():
        with pytest.raises(StartRefused, match=words):
            check(settings)


def test_everything_that_goes_over_tcp_goes_over_tls(server: Running, authority: Authority) -> None:
    client = Client(server.port, context=trusting(authority))
    data = (authority.folder / "large").read_bytes()
    assert client.get("/v2/").status == 200
    assert hashlib.sha256(client.get("/v2/file/large").body).digest() == hashlib.sha256(data).digest()
    assert client.ask(b"PUT /v2/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000)).body == b"300000"
    client.send(b"GET /v2/file/large HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/behind HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer().body == data
    assert b"/v2/behind" in client.answer().body
    call = server.observed[-1][0]
    assert (call.scheme, call.client) == ("https", "127.0.0.1")


def test_plain_http_on_a_tls_port_is_answered_in_words(server: Running) -> None:
    answer = server.client().get("/v2/")
    assert answer.status == 400
    assert b"This port speaks HTTPS" in answer.body


def test_nonsense_and_silence_do_not_harm(server: Running, authority: Authority) -> None:
    quiet, noisy = server.client(), server.client()
    noisy.send(b"\x16\x03\x01\x00\x05hello")
    assert noisy.closed()
    assert Client(server.port, context=trusting(authority)).get("/v2/").status == 200
    quiet.close()


def test_old_versions_are_not_spoken(authority: Authority) -> None:
    with running(authority.folder, Http(tls=tls(authority.issue("server"), minimumtls="tls1.3"))) as server:
        context = trusting(authority)
        assert Client(server.port, context=context).socket.version() == "TLSv1.3"  # type: ignore[attr-defined]  # it is an SSLSocket here
        context = trusting(authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            Client(server.port, context=context)


def test_renewed_files_are_served_and_old_connections_go_on(server: Running, authority: Authority) -> None:
    assert server.certificate is not None
    old = Client(server.port, context=trusting(authority))
    authority.issue("renewed", file="server")
    assert server.certificate.look()
    assert not server.certificate.look()
    new = Client(server.port, context=trusting(authority))
    assert "renewed" in subject(new)
    assert "renewed" not in subject(old)
    assert (old.get("/v2/").status, new.get("/v2/").status) == (200, 200)


def test_a_broken_renewal_changes_nothing_and_is_logged_once(
    server: Running, authority: Authority, capfd: pytest.CaptureFixture[str]
) -> None:
    assert server.certificate is not None
    os.replace(authority.issue("other")[1], authority.folder / "server.key")
    assert [server.certificate.look() for _ in range(3)] == [False, False, False]
    assert capfd.readouterr().err.count("the renewed certificate is not used") == 1
    assert "server" in subject(Client(server.port, context=trusting(authority)))
    authority.issue("mended", file="server")
    assert server.certificate.look()
    assert "mended" in subject(Client(server.port, context=trusting(authority)))


def test_client_certificates(authority: Authority, tmp_path: Path) -> None:
    clients, strangers = Authority(tmp_path, "clients"), Authority(tmp_path, "strangers")
    settings = tls(authority.issue("server"), clientcas=[str(clients.path)])
    with running(authority.folder, Http(tls=settings)) as server:
        known = Client(server.port, context=trusting(authority, clients.issue("known")))
        assert known.get("/v2/").status == 200
        for pair in (None, strangers.issue("unknown")):
            with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
                Client(server.port, context=trusting(authority, pair)).get("/v2/")
        os.replace(strangers.path, clients.path)  # the CA is exchanged: the old one's certificates are worth nothing
        assert server.certificate is not None
        assert server.certificate.look()
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            Client(server.port, context=trusting(authority, clients.issue("known"))).get("/v2/")
        assert known.get("/v2/").status == 200
