"""An open registry: every caller may do everything, and an `Authorization` header is not looked at. Callers: auth/authenticator.py."""

from __future__ import annotations

from collections.abc import Sequence

from cargohold.auth.identity import ANYONE, Actor
from cargohold.auth.permissions import Want
from cargohold.errors import CargoholdError, Denied
from cargohold.http.call import Call


class OpenAuthenticator:
    async def actor(self, call: Call, wanted: Sequence[Want] = ()) -> Actor:
        return ANYONE

    def refuse(self, actor: Actor, wanted: Sequence[Want] = ()) -> CargoholdError:
        return Denied()

    def close(self) -> None:
        """Nothing is held."""
