"""The `WWW-Authenticate` header of a 401: one challenge, the same text for the same wants (RFC 7235, the token scope grammar).

    Basic realm="cargohold"
    Bearer realm="https://auth.example/token",service="registry.example",scope="repository:team/app:pull,push",error="invalid_token"

Scopes are sorted, so that clients which cache tokens by scope text meet the same text again. Callers: the providers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cargohold.auth.permissions import Target, Want

_SPECIAL = re.compile(r'(["\\])')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def quoted(text: str) -> str:
    """A quoted-string that is safe in a header; characters beyond ASCII travel as their UTF-8 bytes."""
    plain = _CONTROL.sub(" ", text).encode().decode("latin-1")
    return '"' + _SPECIAL.sub(r"\\\1", plain) + '"'


def basic(realm: str) -> str:
    return f"Basic realm={quoted(realm)}"


def scope(wanted: Iterable[Want]) -> str:
    """`repository:a:pull repository:b:pull,push`: one entry for each target."""
    actions: dict[Target, set[str]] = {}
    for want in wanted:
        actions.setdefault(want.target, set()).add(want.action.value)
    return " ".join(f"{target.kind}:{target.name}:{','.join(sorted(words))}" for target, words in sorted(actions.items()))


def bearer(realm: str, service: str, wanted: Iterable[Want], error: str = "") -> str:
    """`error` is `invalid_token` or `insufficient_scope`; no token at all has none (RFC 6750, section 3.1)."""
    parts = [f"realm={quoted(realm)}", f"service={quoted(service)}"]
    if scopes := scope(wanted):
        parts.append(f"scope={quoted(scopes)}")
    if error:
        parts.append(f"error={quoted(error)}")
    return "Bearer " + ",".join(parts)
