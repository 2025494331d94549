"""Takes secrets out of whatever is about to be logged: by the name of the field, and by the look of the text.

Removed: Authorization values (Basic, Bearer), JSON web tokens, passwords in URLs, private keys, and query parameters that carry a
right (`_state` of uploads, tokens, signatures of presigned URLs). One rule set for log lines, tracebacks and the access log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

REMOVED = "[removed]"

_SECRET_FIELD = re.compile(
    r"(?i)^(.*[_.-])?(authorization|cookie|set-cookie|passw(or)?d|passphrase|secret|secretkey|secret_key|accesskey|access_token"
    r"|refresh_token|identity_token|token|credentials?|private_key|signature|_state|state_token|dsn)$"
)
_PARAMETER = re.compile(
    r"(?i)([?&;]|^)(_state|state|access_token|refresh_token|id_token|token|password|client_secret|secret|code|account_token|sig|signature"
    r"|x-amz-signature|x-amz-credential|x-amz-security-token|awsaccesskeyid|x-goog-signature|x-goog-credential)=[^&\s\"'#]*"
)
_NAMED = re.compile(
    r"(?i)([\w.-]*(?:authorization|cookie|passw(?:or)?d|passphrase|secret|secret_?key|accesskey|token|credentials?|private_key|signature)"
    r"(?:\\*[\"']?\s*[=:]\s*|\\*[\"']\s*,\s*)(?:b?\\*[\"'\[({]+)*)[^\s\"'\\,;&)}\]\[]+"
)
"""A secret field and its value inside a text: `token=x`, `"password": "x"`, `(b'authorization', b'x')`."""
_IN_TEXT = (
    (re.compile(r"(?i)\b(basic|bearer|negotiate|digest)\s+[A-Za-z0-9+/._~=-]{6,}"), r"\1 " + REMOVED),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(\.[A-Za-z0-9_-]*)*"), REMOVED),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s:@]*:[^/\s@]*@"), r"\1" + REMOVED + "@"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REMOVED),
    (_NAMED, r"\1" + REMOVED),
)
_DEPTH = 6


def scrub_text(text: str) -> str:
    text = scrub_query(text) if "=" in text else text
    for pattern, replacement in _IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def scrub_query(query: str) -> str:
    """A query, or a text with URLs in it, without the values of parameters that carry a right."""
    return _PARAMETER.sub(lambda match: f"{match[1]}{match[2]}={REMOVED}", query)


def scrub_value(value: object, depth: int = _DEPTH) -> object:
    """The value with every text in it scrubbed; what is neither text, number nor container is turned into text first."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return scrub_text(bytes(value[:4096]).decode("utf-8", "replace"))
    if depth == 0:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): REMOVED if is_secret(str(key)) and item else scrub_value(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if len(value) == 2 and isinstance(value[0], str | bytes) and is_secret(_text(value[0])):
            return [_text(value[0]), REMOVED]  # a header as a pair
        return [scrub_value(item, depth - 1) for item in value]
    if isinstance(value, set | frozenset):
        return [scrub_value(item, depth - 1) for item in value]
    return scrub_text(str(value))


def is_secret(field: str) -> bool:
    return _SECRET_FIELD.match(field) is not None


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
