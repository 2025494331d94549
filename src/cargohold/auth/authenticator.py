"""From a call to an actor that may: what the planes use of this package.

    admit(auth, call, wants(repository("team/app"), Action.PULL)) -> Actor, or Unauthorized, Denied, TooManyRequests
    admit(auth, call)                                             -> as `/v2/` wants it: any valid credentials, none in an open registry

A provider answers without suspending when it has seen the credentials before: pulls are driven inline.
Invariant: a 401 carries exactly one challenge (several confuse docker), with the scopes of this request.
Callers: app.py makes the one of `auth.kind`; registry/dispatch.py admits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cargohold.auth.identity import Actor, Kind
from cargohold.auth.permissions import Want, can_all
from cargohold.auth.providers.anyone import OpenAuthenticator
from cargohold.auth.providers.htpasswd import HtpasswdAuthenticator
from cargohold.auth.providers.token import TokenAuthenticator
from cargohold.config.settings import Auth
from cargohold.errors import CargoholdError
from cargohold.http.call import Call


class Authenticator(Protocol):
    async def actor(self, call: Call, wanted: Sequence[Want] = ()) -> Actor:
        """Who calls; `ANONYMOUS` when no credentials came. Raises `Unauthorized` (bad ones; `wanted` goes into its challenge)
        and `TooManyRequests` (too many are being checked)."""

    def refuse(self, actor: Actor, wanted: Sequence[Want] = ()) -> CargoholdError:
        """The error to raise when a right is missing: `Unauthorized` when other credentials may help, else `Denied`."""

    def close(self) -> None:
        """Give threads back; nobody may ask any more."""


async def admit(auth: Authenticator, call: Call, wanted: Sequence[Want] = ()) -> Actor:
    """The actor when it may do all that is wanted; `call.actor` is set. With nothing wanted, being known is enough."""
    actor = await auth.actor(call, wanted)
    call.actor = actor
    known = actor.everything or actor.kind is not Kind.ANONYMOUS
    if known and can_all(actor, wanted):
        return actor
    raise auth.refuse(actor, wanted)


def authenticator(settings: Auth) -> Authenticator:
    """The one that `auth.kind` asks for. Raises `ConfigInvalid` when a file it needs is missing or unusable."""
    if settings.kind == "htpasswd":
        return HtpasswdAuthenticator(settings.htpasswd)
    if settings.kind == "token":
        return TokenAuthenticator(settings.token)
    return OpenAuthenticator()
