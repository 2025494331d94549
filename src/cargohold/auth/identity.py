"""Who is asking: `Actor`, what a provider makes of the `Authorization` header.

    kind        name                      may do
    anonymous   ""                        nothing (`ANONYMOUS`), or everything in an open registry (`ANYONE`)
    user        the name in the htpasswd  everything
    token       the `sub` of the token    what its access list grants

An actor is frozen and shared between requests: providers keep the ones they have verified. Rights are read by permissions.py alone.
Callers: the providers make them; registry/ hands them to `can` and stores `principal` with an upload.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec


class Kind(StrEnum):
    ANONYMOUS = "anonymous"
    USER = "user"
    BEARER = "token"


class Grant(NamedTuple):
    """One right: `("repository", "team/app", "pull")`. The action `*` stands for all of them, a kind or name never does."""

    kind: str
    name: str
    action: str


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    kind: Kind
    name: str = ""
    everything: bool = False
    """May do all there is; `grants` is then empty."""
    grants: frozenset[Grant] = frozenset()

    @property
    def principal(self) -> str:
        """What an upload session is bound to (`user:ann`); stays the same when a token is renewed."""
        return f"{self.kind}:{self.name}"


ANONYMOUS = Actor(kind=Kind.ANONYMOUS)
"""Nobody: no credentials came where some are needed."""

ANYONE = Actor(kind=Kind.ANONYMOUS, everything=True)
"""Every caller of an open registry."""
