"""Errors in the form of OCI Distribution 1.1, section "Error codes": one status, a list of {code, message, detail}."""

from __future__ import annotations

import msgspec

from cargohold.errors import CargoholdError, ReferencesUnknown
from cargohold.http.replies import Reply

JSON = (b"Content-Type", b"application/json; charset=utf-8")


def error_reply(error: CargoholdError) -> Reply:
    """A missing reference is an entry of its own: docker and oras print the first, people read them all."""
    if isinstance(error, ReferencesUnknown):
        entries: list[dict[str, object]] = [
            {"code": error.code, "message": str(error), "detail": {"digest": digest}} for digest in error.missing
        ]
    else:
        entry: dict[str, object] = {"code": error.code, "message": error.told}
        if error.facts:
            entry["detail"] = error.facts
        entries = [entry]
    headers = [JSON, *((name.encode(), value.encode("latin-1", "replace")) for name, value in error.headers)]
    return Reply(error.status, headers, msgspec.json.encode({"errors": entries}, enc_hook=str) + b"\n")
