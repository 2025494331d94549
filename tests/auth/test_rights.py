"""The question of rights, scopes as text, and an open registry."""

from __future__ import annotations

import itertools

import pytest

from cargohold.auth.authenticator import admit, authenticator
from cargohold.auth.challenge import bearer, quoted, scope
from cargohold.auth.identity import ANONYMOUS, ANYONE, Actor, Grant, Kind
from cargohold.auth.permissions import CATALOG, Action, Target, can, can_all, repository, wants
from cargohold.auth.recent import Recent
from cargohold.config.settings import Auth
from tests.auth.calls import at_once, basic, call

USER = Actor(kind=Kind.USER, name="ann", everything=True)
APP = repository("team/app")
EVERYTHING = [(action, target) for action in Action for target in (APP, repository("x"), CATALOG)]


@pytest.mark.parametrize("actor", [USER, ANYONE])
def test_a_user_and_a_caller_of_an_open_registry_may_do_all(actor: Actor) -> None:
    assert all(can(actor, action, target) for action, target in EVERYTHING)


def test_nobody_may_do_anything() -> None:
    assert not any(can(ANONYMOUS, action, target) for action, target in EVERYTHING)


@pytest.mark.parametrize("grant", [Grant("repository", "team/app", "pull"), Grant("registry", "catalog", "*")])
def test_a_grant_opens_what_it_says_and_nothing_else(grant: Grant) -> None:
    actor = Actor(kind=Kind.BEARER, name="ann", grants=frozenset([grant]))
    opened = {(action, target) for action, target in EVERYTHING if can(actor, action, target)}
    expected = {
        Grant("repository", "team/app", "pull"): {(Action.PULL, APP)},
        Grant("registry", "catalog", "*"): {(action, CATALOG) for action in Action},
    }
    assert opened == expected[grant]


@pytest.mark.parametrize("grant", [("Repository", "team/app", "pull"), ("repository", "team/*", "pull"), ("*", "*", "*"), ("", "", "")])
def test_kinds_and_names_are_exact(grant: tuple[str, str, str]) -> None:
    actor = Actor(kind=Kind.BEARER, name="ann", grants=frozenset([Grant(*grant)]))
    assert not any(can(actor, action, target) for action, target in EVERYTHING)


def test_all_that_is_wanted_must_be_granted() -> None:
    actor = Actor(kind=Kind.BEARER, grants=frozenset([Grant(*APP, "pull")]))
    assert can_all(actor, wants(APP, Action.PULL)) and can_all(actor, ())
    assert not can_all(actor, wants(APP, Action.PULL, Action.PUSH))


def test_an_open_registry_looks_at_no_header() -> None:
    auth = authenticator(Auth())
    for header in (None, basic("ann", "x"), "Bearer nonsense", "\x00"):
        assert at_once(admit(auth, call(header), wants(APP, *Action))) is ANYONE


def test_the_actor_is_known_to_the_call_also_when_it_is_refused() -> None:
    seen = call()
    at_once(admit(authenticator(Auth()), seen))
    assert seen.actor is ANYONE


def test_scopes_are_the_same_text_in_any_order() -> None:
    wanted = [*wants(APP, Action.PUSH, Action.PULL), *wants(repository("a"), Action.PULL), *wants(CATALOG, Action.LIST)]
    texts = {scope(order) for order in itertools.permutations(wanted)}
    assert texts == {"registry:catalog:* repository:a:pull repository:team/app:pull,push"}


def test_a_challenge_cannot_be_broken_out_of() -> None:
    hostile = bearer('https://a"b', "s\\\r\nSet-Cookie: x", wants(Target("repository", 'x" y'), Action.PULL))
    assert hostile == 'Bearer realm="https://a\\"b",service="s\\\\ Set-Cookie: x",scope="repository:x\\" y:pull"'
    assert quoted("\x00\x7f") == '" "'


def test_memory_lets_the_least_used_go() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.keep("a", 1)
    recent.keep("b", 2)
    assert recent.get("a") == 1
    recent.keep("c", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c"), len(recent)) == (1, None, 3, 2)
    recent.keep("a", 4)
    recent.drop("c")
    assert (recent.get("a"), recent.get("c"), len(recent)) == (4, None, 1)
