"""The one question of rights: `can(actor, action, target)`. Everything that refuses somebody asks it here.

    target                       actions
    repository("team/app")       pull, push, delete
    CATALOG                      list

`Want` pairs the two: routes say what they want as a tuple of wants, and challenges spell the same tuple as scopes
(`repository:team/app:pull,push`). Wants of the methods: GET and HEAD pull; POST, PUT and PATCH pull and push; DELETE delete.
Callers: registry/ for every route, and for the repository that a mount names in `from`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from cargohold.auth.identity import Actor


class Action(StrEnum):
    """The values are the words of the token scope grammar; the catalog's only action is spelt `*` there."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    LIST = "*"


class Target(NamedTuple):
    kind: str
    name: str


class Want(NamedTuple):
    action: Action
    target: Target


CATALOG = Target("registry", "catalog")


def repository(name: str) -> Target:
    return Target("repository", name)


def wants(target: Target, *actions: Action) -> tuple[Want, ...]:
    return tuple(Want(action, target) for action in actions)


def can(actor: Actor, action: Action, target: Target) -> bool:
    if actor.everything:
        return True
    kind, name = target
    return (kind, name, action) in actor.grants or (kind, name, "*") in actor.grants


def can_all(actor: Actor, wanted: Iterable[Want]) -> bool:
    return all(can(actor, want.action, want.target) for want in wanted)
