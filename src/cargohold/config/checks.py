"""What must hold between settings, and the forms that a type alone does not say.

Files are not opened here: whether a certificate can be read or a folder written is found out at the start, by the room that needs it.
Each check names the setting at fault; load.py adds where it came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from cargohold.config.settings import Settings

ALGORITHMS = ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA")
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]:/\s]*):(\d{1,5})")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")

Fault = tuple[str, str]


def faults(settings: Settings) -> Iterator[Fault]:
    """(setting path, cause) for everything that cannot be."""
    for check in (_http, _tls, _storage, _auth, _database, _admin):
        yield from check(settings)


def _http(settings: Settings) -> Iterator[Fault]:
    http = settings.http
    if http.net == "tcp":
        yield from _address("http.addr", http.addr)
    elif not http.addr:
        yield "http.addr", "the path of a socket is needed"
    if http.host and not _is_url(http.host):
        yield "http.host", "a URL with http:// or https:// and a host is needed"
    if not (http.prefix.startswith("/") and http.prefix.endswith("/")):
        yield "http.prefix", "must start and end with a slash"
    for name, values in http.headers.items():
        if not _HEADER_NAME.fullmatch(name) or not all(map(_HEADER_VALUE.fullmatch, values)):
            yield "http.headers", f"{name!r} is no header, or has a value with control characters"


def _tls(settings: Settings) -> Iterator[Fault]:
    tls = settings.http.tls
    if tls.certificate and not tls.key:
        yield "http.tls.key", "missing: a certificate is set without its key"
    if tls.key and not tls.certificate:
        yield "http.tls.certificate", "missing: a key is set without its certificate"
    if tls.clientcas and not tls.certificate:
        yield "http.tls.clientcas", "client certificates need TLS: set http.tls.certificate and http.tls.key"


def _storage(settings: Settings) -> Iterator[Fault]:
    storage = settings.storage
    if not storage.rootdirectory:
        yield "storage.rootdirectory", "a folder is needed"
    if storage.driver != "s3":
        return
    if not storage.s3.bucket:
        yield "storage.s3.bucket", "missing: the s3 driver needs a bucket"
    if bool(storage.s3.accesskey) != bool(storage.s3.secretkey):
        yield ("storage.s3.secretkey" if storage.s3.accesskey else "storage.s3.accesskey"), "missing: accesskey and secretkey go together"
    if storage.s3.public_endpoint and not _is_url(storage.s3.public_endpoint):
        yield "storage.s3.public_endpoint", "a URL with http:// or https:// and a host is needed"


def _auth(settings: Settings) -> Iterator[Fault]:
    auth = settings.auth
    if auth.kind == "htpasswd" and not auth.htpasswd.path:
        yield "auth.htpasswd.path", "missing: htpasswd needs a file"
    if auth.kind == "token":
        for name in ("realm", "service", "issuer"):
            if not getattr(auth.token, name):
                yield f"auth.token.{name}", "missing: token authentication needs it"
        if not (auth.token.rootcertbundle or auth.token.jwks):
            yield "auth.token.rootcertbundle", "missing: token authentication needs rootcertbundle or jwks"
    for name in auth.token.signingalgorithms:
        if name not in ALGORITHMS:
            yield "auth.token.signingalgorithms", f"an algorithm is not one of {', '.join(ALGORITHMS)}"


def _database(settings: Settings) -> Iterator[Fault]:
    if settings.database.url and not settings.database.url.startswith(("postgresql://", "postgres://")):
        yield "database.url", "must start with postgresql://, or be empty for SQLite in the data folder"


def _admin(settings: Settings) -> Iterator[Fault]:
    if settings.admin.addr:
        yield from _address("admin.addr", settings.admin.addr)
        if settings.http.net == "tcp" and settings.admin.addr == settings.http.addr and not settings.admin.addr.endswith(":0"):
            yield "admin.addr", "must differ from http.addr"
    if settings.admin.metrics_path and not settings.admin.metrics_path.startswith("/"):
        yield "admin.metrics_path", "must start with a slash"


def _address(path: str, address: str) -> Iterator[Fault]:
    match = _ADDRESS.fullmatch(address)
    if not match or int(match[1]) > 65535:
        yield path, "host:port is needed, such as 127.0.0.1:5000 or :5000"


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
