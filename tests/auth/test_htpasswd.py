"""htpasswd: the file's format, passwords, memory of what was checked, bounds, reload."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bcrypt
import pytest
import structlog

from cargohold.auth.authenticator import admit, authenticator
from cargohold.auth.identity import Actor, Kind
from cargohold.auth.permissions import Action, repository, wants
from cargohold.auth.providers import htpasswd
from cargohold.auth.providers.htpasswd import HtpasswdAuthenticator, parse
from cargohold.config.origin import ConfigInvalid
from cargohold.config.settings import Auth, Htpasswd
from cargohold.errors import TooManyRequests, Unauthorized
from tests.auth.calls import at_once, basic, call

# Made by `htpasswd -nbBC 4` of Apache 2.4, which writes $2y$. LONG's password is 90 times x.
ANN = "ann:$2y$04$A8DntqHyHyyD4zgMk23VSe0Tby4fZwIzxaOSomVy7T8HIUesj32pO"
BOB = "bob:$2y$04$d1HtZsHDNsLjcYkbVMd/l.5xj0bXqLyLRGMQVHkD24JzDHB3iJzqu"
LONG = "long:$2y$04$bPd402NDkMP1fevvAflnr.Hgr0u3JXxPOdZCQGLrMK7B8QzfnFedy"
MD5 = "old:$apr1$whjhfepE$hq6Vz4/1xXCc0X4Zq1GY1/"
SHA = "older:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
PULL = wants(repository("team/app"), Action.PULL)


def line(name: str, password: str | bytes, *, cost: int = 4, prefix: str = "2b") -> str:
    given = password.encode() if isinstance(password, str) else password
    return f"{name}:{bcrypt.hashpw(given[:72], bcrypt.gensalt(cost)).decode().replace('$2b$', f'${prefix}$')}"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every hash that a password is compared with, in order: the seam where one bcrypt is paid."""
    seen: list[bytes] = []
    real = bcrypt.checkpw

    def checkpw(password: bytes, stored: bytes) -> bool:
        seen.append(stored)
        return real(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    return seen


Make = Callable[..., HtpasswdAuthenticator]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[HtpasswdAuthenticator] = []

    def build(*lines: str, realm: str = "cargohold") -> HtpasswdAuthenticator:
        path = tmp_path / "htpasswd"
        path.write_text("".join(f"{text}\n" for text in lines))
        made.append(HtpasswdAuthenticator(Htpasswd(path=str(path), realm=realm)))
        return made[-1]

    yield build
    for auth in made:
        auth.close()


async def challenge_of(auth: HtpasswdAuthenticator, authorization: str | bytes | None) -> str:
    with pytest.raises(Unauthorized) as refused:
        await admit(auth, call(authorization))
    return refused.value.challenge


def test_the_file_is_read_as_apache_writes_it() -> None:
    users, unused = parse("\n".join(["# people", "", ANN, "  ", MD5, "no colon", BOB, ":$2y$04$x", SHA]).encode())
    assert set(users) == {b"ann", b"bob"}
    assert [number for number, _ in unused] == [5, 6, 8, 9]


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm() -> None:
    assert parse(b"\xef\xbb\xbf" + f"{ANN}\r\n{BOB}\r\n".encode()) == parse(f"{ANN}\n{BOB}\n".encode())


def test_the_last_line_of_a_name_wins_even_when_it_is_of_no_use() -> None:
    first, last = line("ann", "one"), line("ann", "two")
    assert parse(f"{first}\n{last}".encode())[0] == {b"ann": last.split(":")[1].encode()}
    assert parse(f"{first}\nann:{{SHA}}x".encode())[0] == {}


def test_a_line_of_no_use_is_named_by_its_number_and_never_quoted(make: Make) -> None:
    with structlog.testing.capture_logs() as logs:
        make(ANN, MD5, "secret-without-colon")
    assert [entry["line"] for entry in logs] == [2, 3]
    assert "apr1" not in str(logs) and "secret-without-colon" not in str(logs)


@pytest.mark.parametrize(
    ("stored", "name", "password"),
    [
        (ANN, "ann", "secret"),
        (BOB, "bob", "wörter:mit doppelpunkt"),
        (LONG, "long", "x" * 90),
        (LONG, "long", "x" * 72 + "anything"),
        (line("go", "secret", prefix="2a"), "go", "secret"),
        (line("empty", ""), "empty", ""),
        (line("née", "pässe"), "née", "pässe"),
    ],
    ids=["apache", "a colon in it", "long", "longer than counts", "go", "empty", "not ASCII"],
)
async def test_a_right_password_is_a_user_who_may_do_everything(make: Make, stored: str, name: str, password: str) -> None:
    actor = await admit(make(stored), call(basic(name, password)), PULL)
    assert actor == Actor(kind=Kind.USER, name=name, everything=True)
    assert actor.principal == f"user:{name}"


@pytest.mark.parametrize(
    "authorization",
    [
        basic("ann", "wrong"),
        basic("ann", ""),
        basic("Ann", "secret"),
        basic("nobody", "secret"),
        basic("old", "secret"),
        basic("older", "secret"),
        basic(b"ann", b"sec\x00ret"),
        basic(b"\xff\xfe", b"\xff"),
        "Basic",
        "Basic !!!",
        "Basic YW5u",
        "Bearer abc",
        "Basic OnNlY3JldA==",
        b"Basic \xff\xff",
    ],
)
async def test_everything_else_is_refused_with_the_challenge(make: Make, authorization: str | bytes) -> None:
    assert await challenge_of(make(ANN, MD5, SHA), authorization) == 'Basic realm="cargohold"'


async def test_the_scheme_is_read_in_any_case(make: Make) -> None:
    assert (await make(ANN).actor(call(basic("ann", "secret").replace("Basic", "bAsIc")))).name == "ann"


async def test_no_credentials_are_refused_also_where_nothing_is_wanted(make: Make) -> None:
    auth = make(ANN)
    assert await challenge_of(auth, None) == 'Basic realm="cargohold"'
    with pytest.raises(Unauthorized) as refused:
        await admit(auth, call(), PULL)
    assert refused.value.facts == {"wanted": "repository:team/app:pull"}


async def test_a_realm_is_quoted(make: Make) -> None:
    challenge = await challenge_of(make(ANN, realm='my "own"\r\nX: \\ 仓库'), None)
    assert challenge.encode("latin-1").decode() == 'Basic realm="my \\"own\\" X: \\\\ 仓库"'


async def test_nothing_is_checked_twice_and_a_known_login_does_not_suspend(make: Make, counted: list[bytes]) -> None:
    auth = make(ANN)
    good, bad = call(basic("ann", "secret")), call(basic("ann", "wrong"))
    first = await auth.actor(good)
    assert await challenge_of(auth, basic("ann", "wrong"))
    assert len(counted) == 2
    assert at_once(auth.actor(good)) is first
    with pytest.raises(Unauthorized):
        at_once(auth.actor(bad))
    assert len(counted) == 2


async def test_an_unknown_name_costs_what_a_wrong_password_costs(make: Make, counted: list[bytes]) -> None:
    auth = make(line("a", "x", cost=5), line("b", "x", cost=5), line("c", "x", cost=4))
    for authorization in (basic("a", "wrong"), basic("nobody", "wrong")):
        assert await challenge_of(auth, authorization)
    assert [stored[:7] for stored in counted] == [b"$2b$05$", b"$2b$05$"]


async def test_the_same_login_many_times_at_once_is_one_check(make: Make, counted: list[bytes]) -> None:
    auth = make(ANN)
    actors = await asyncio.gather(*(auth.actor(call(basic("ann", "secret"))) for _ in range(200)))
    assert len(counted) == 1 and len(set(map(id, actors))) == 1


async def test_a_login_that_comes_as_the_check_ends_gets_its_answer(make: Make, counted: list[bytes]) -> None:
    """The thread has finished and the loop is about to tell so when the second arrives: docker's parallel uploads do this."""
    auth = make(ANN)
    first = asyncio.create_task(admit(auth, call(basic("ann", "secret")), PULL))
    await asyncio.sleep(0)
    time.sleep(0.3)  # the loop stands still while bcrypt runs to its end
    second = asyncio.create_task(admit(auth, call(basic("ann", "secret")), PULL))
    assert (await first).name == (await second).name == "ann"
    assert len(counted) == 1


async def test_one_that_leaves_takes_nobody_with_it(make: Make, counted: list[bytes]) -> None:
    auth = make(line("ann", "secret", cost=8))
    first, second = (asyncio.create_task(auth.actor(call(basic("ann", "secret")))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).name == "ann"
    assert first.cancelled() and len(counted) == 1


async def test_a_flood_of_wrong_passwords_stops_neither_known_nor_new_logins_from_elsewhere(make: Make) -> None:
    auth = make(ANN, BOB)
    known = await auth.actor(call(basic("ann", "secret")))
    flood = [asyncio.create_task(auth.actor(call(basic("ann", f"guess {number}")))) for number in range(400)]
    await asyncio.sleep(0)
    assert at_once(auth.actor(call(basic("ann", "secret")))) is known
    new = await auth.actor(call(basic("bob", "wörter:mit doppelpunkt"), client="198.51.100.7"))
    ends = await asyncio.gather(*flood, return_exceptions=True)
    assert new.name == "bob"
    assert sum(isinstance(end, TooManyRequests) for end in ends) == 400 - htpasswd.QUEUE_OF_CLIENT
    assert sum(isinstance(end, Unauthorized) for end in ends) == htpasswd.QUEUE_OF_CLIENT
    assert await challenge_of(auth, basic("ann", "after the flood")) == 'Basic realm="cargohold"'


async def test_a_flood_from_many_addresses_is_bounded(make: Make) -> None:
    auth = make(ANN)
    calls = [call(basic("ann", f"guess {number}"), client=f"192.0.2.{number}") for number in range(2 * htpasswd.QUEUE)]
    ends = await asyncio.gather(*map(auth.actor, calls), return_exceptions=True)
    assert sum(isinstance(end, TooManyRequests) for end in ends) == htpasswd.QUEUE


def edit(auth: HtpasswdAuthenticator, *lines: str) -> None:
    """Another content, seen at the next look, which is now."""
    auth._file.path.write_text("".join(f"{text}\n" for text in lines))
    auth._file._next = 0.0


async def test_the_file_is_read_again_when_it_changes(make: Make, counted: list[bytes]) -> None:
    auth = make(ANN)
    assert await auth.actor(call(basic("ann", "secret")))
    edit(auth, line("ann", "changed"), BOB)
    assert await challenge_of(auth, basic("ann", "secret"))
    assert (await auth.actor(call(basic("ann", "changed")))).name == "ann"
    assert (await auth.actor(call(basic("bob", "wörter:mit doppelpunkt")))).name == "bob"
    edit(auth, BOB)
    assert await challenge_of(auth, basic("ann", "changed"))


async def test_a_wrong_password_that_becomes_right_is_right(make: Make) -> None:
    auth = make(ANN)
    assert await challenge_of(auth, basic("ann", "next"))
    edit(auth, line("ann", "next"))
    assert (await auth.actor(call(basic("ann", "next")))).name == "ann"


async def test_a_file_that_vanishes_stays_in_force_and_is_told_once(make: Make) -> None:
    auth = make(ANN)
    auth._file.path.unlink()
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            auth._file._next = 0.0
            assert await auth.actor(call(basic("ann", "secret")))
    assert [entry["setting"] for entry in logs] == ["auth.htpasswd.path"]
    edit(auth, BOB)
    assert await challenge_of(auth, basic("ann", "secret"))


async def test_a_replacement_of_the_same_size_and_time_is_seen(make: Make) -> None:
    auth = make(ANN)
    path = auth._file.path
    os.utime(path, ns=(10**18, 10**18))
    edit_to = path.with_name("new")
    edit_to.write_text(line("ann", "changed", prefix="2y") + "\n")
    os.utime(edit_to, ns=(10**18, 10**18))
    assert edit_to.stat().st_size == path.stat().st_size
    os.replace(edit_to, path)
    auth._file._next = 0.0
    assert (await auth.actor(call(basic("ann", "changed")))).name == "ann"


@pytest.mark.parametrize("path", ["", "missing/htpasswd", "."])
def test_without_the_file_the_server_does_not_start(path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"auth\.htpasswd\.path"):
        authenticator(Auth(kind="htpasswd", htpasswd=Htpasswd(path=str(tmp_path / path) if path else "")))
