"""Bearer tokens from a token service elsewhere: the docker token protocol, seen from the registry (distribution docs, `auth/token`).

    no token                      401 Bearer realm,service,scope
    a token that proves nothing   401 the same with error="invalid_token"
    a token without the right     401 the same with error="insufficient_scope": clients fetch one with that scope
    Basic credentials             401 as without a token: they belong to the token service

Keys are read again when a file changes, at once when a token names a key that is not known. A file that turns unusable while we
run leaves the last keys in force. A token that carries its own certificate (`x5c`) needs that certificate, not only its CA, in
the bundle. Callers: auth/authenticator.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from cargohold.auth import challenge
from cargohold.auth.identity import ANONYMOUS, Actor, Kind
from cargohold.auth.permissions import Want
from cargohold.auth.tokens import ALGORITHMS, TokenInvalid, TrustedKey, Verifier, from_certificates, from_jwks
from cargohold.auth.watched import WatchedFile, unusable
from cargohold.config.settings import Token as Settings
from cargohold.errors import CargoholdError, Unauthorized
from cargohold.http.call import Call
from cargohold.telemetry import log

Parse = Callable[[bytes], list[TrustedKey]]


class KeyFile:
    """One file of keys and the keys last read from it."""

    def __init__(self, path: str, setting: str, parse: Parse) -> None:
        """Raises `ConfigInvalid` when the file cannot be read or has no key."""
        self._file = WatchedFile(path, setting)
        self._parse = parse
        try:
            self.keys = parse(self._file.first())
        except ValueError as error:
            raise unusable(setting, f"{path}: {error}") from error

    def refresh(self, *, now: bool) -> bool:
        """Whether `keys` are others than before."""
        content = self._file.changed(now=now)
        if content is None:
            return False
        try:
            self.keys = self._parse(content)
        except ValueError as error:
            log.warning("keys cannot be read, the last ones stay in force", path=str(self._file.path), cause=str(error))
            return False
        log.info("keys of the token service were read again", path=str(self._file.path), keys=len(self.keys))
        return True


class TokenAuthenticator:
    def __init__(self, settings: Settings) -> None:
        """Raises `ConfigInvalid` for a setting that is missing and for files without usable keys."""
        for name in ("realm", "service", "issuer"):
            if not getattr(settings, name):
                raise unusable(f"auth.token.{name}", "is needed to verify tokens")
        allowed = settings.signingalgorithms or ALGORITHMS
        for algorithm in sorted(set(allowed) - set(ALGORITHMS)):
            raise unusable("auth.token.signingalgorithms", f"{algorithm} is not one of {', '.join(ALGORITHMS)}")
        self._files = [
            KeyFile(path, f"auth.token.{name}", partial(parse, allowed=allowed))
            for name, path, parse in (
                ("rootcertbundle", settings.rootcertbundle, from_certificates),
                ("jwks", settings.jwks, from_jwks),
            )
            if path
        ]
        if not self._files:
            raise unusable("auth.token.rootcertbundle", "names no file, nor does auth.token.jwks")
        self._challenge = partial(challenge.bearer, settings.realm, settings.service)
        self._verifier = Verifier(issuer=settings.issuer, service=settings.service, leeway=settings.leeway)
        self._trust()

    async def actor(self, call: Call, wanted: Sequence[Want] = ()) -> Actor:
        scheme, _, token = (call.header(b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer":
            return ANONYMOUS
        token = token.strip()
        self._refresh()
        try:
            return self._verify(token)
        except TokenInvalid as error:
            raise Unauthorized(self._challenge(wanted, "invalid_token"), f"the token is not accepted: {error}") from error

    def refuse(self, actor: Actor, wanted: Sequence[Want] = ()) -> CargoholdError:
        error = "" if actor.kind is Kind.ANONYMOUS else "insufficient_scope"
        scope = challenge.scope(wanted)
        return Unauthorized(self._challenge(wanted, error), **({"wanted": scope} if scope else {}))

    def close(self) -> None:
        """Nothing is held."""

    def _verify(self, token: str) -> Actor:
        try:
            return self._verifier.actor(token)
        except TokenInvalid:
            if self._verifier.knows(token) or not self._refresh(now=True):
                raise
            return self._verifier.actor(token)

    def _refresh(self, *, now: bool = False) -> bool:
        changed = [file.refresh(now=now) for file in self._files]
        if any(changed):
            self._trust()
        return any(changed)

    def _trust(self) -> None:
        self._verifier.trust([key for file in self._files for key in file.keys])
