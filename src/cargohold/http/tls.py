"""The server's certificate: checked before the start, served, and served anew when its files change.

    check(tls)          refuses what clients would refuse: unreadable, wrong key, expired, not yet valid; returns warnings
    Certificate(tls)    holds the context for new connections; `look()` every few seconds picks up renewed files

A renewed certificate gets a context of its own: connections that are open keep theirs, new handshakes get the new one, and a client CA
that was taken out is really out. Renewed files that do not pass `check` change nothing; that is logged once for each change.

With `clientcas` a client must show a certificate of one of these CAs (as with registry:2: a TLS failure, not a 401).

Callers: supervisor.py (check), worker.py and server.py (Certificate).
"""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from cargohold.config.settings import Tls
from cargohold.http.listen import StartRefused
from cargohold.telemetry import log, metrics

SOON = timedelta(days=14)
_VERSIONS = {"tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}


def check(tls: Tls, *, now: datetime | None = None) -> list[str]:
    """Raises StartRefused when no client could connect; returns what some clients will object to."""
    now = now or datetime.now(UTC)
    if tls.minimumtls not in _VERSIONS:
        raise StartRefused(f"http.tls.minimumtls is {tls.minimumtls!r}; it is {' or '.join(_VERSIONS)}")
    leaf = _leaf(tls.certificate)
    _check_key(tls, leaf)
    until, since = leaf.not_valid_after_utc, leaf.not_valid_before_utc
    if now > until:
        raise StartRefused(f"The certificate {tls.certificate} expired on {until:%Y-%m-%d}; renew it")
    if now < since:
        raise StartRefused(
            f"The certificate {tls.certificate} is valid from {since:%Y-%m-%d %H:%M} UTC on; check the clock of this machine"
        )
    for path in tls.clientcas:
        _read_certificates(path, "http.tls.clientcas")
    warnings = []
    if until - now < SOON:
        warnings.append(f"The certificate {tls.certificate} expires on {until:%Y-%m-%d}")
    try:
        leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        warnings.append(f"The certificate {tls.certificate} has no subjectAltName; docker, containerd and every other Go client refuse it")
    return warnings


def _read(path: str, setting: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise StartRefused(f"{setting} {path} cannot be read: {error.strerror}") from None


def _read_certificates(path: str, setting: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path, setting))
    except ValueError:
        raise StartRefused(f"{setting} {path} holds no PEM certificate") from None


def _leaf(path: str) -> x509.Certificate:
    return _read_certificates(path, "http.tls.certificate")[0]


def _check_key(tls: Tls, leaf: x509.Certificate) -> None:
    if not tls.key:
        raise StartRefused("http.tls.certificate is set and http.tls.key is not")
    try:
        key = load_pem_private_key(_read(tls.key, "http.tls.key"), None)
    except TypeError:
        raise StartRefused(f"http.tls.key {tls.key} is protected by a passphrase; use a key without one") from None
    except ValueError:
        raise StartRefused(f"http.tls.key {tls.key} holds no PEM private key") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        raise StartRefused(f"http.tls.key {tls.key} is not a key for TLS certificates: use RSA, ECDSA or Ed25519")
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise StartRefused(f"http.tls.key {tls.key} is not the key of the first certificate in {tls.certificate}; the leaf comes first")


def make_context(tls: Tls) -> ssl.SSLContext:
    """HTTP/1.1 only; the ciphers and versions are Python's defaults for servers, from `minimumtls` up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.minimumtls]
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        for path in tls.clientcas:
            context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise StartRefused(f"The certificate {tls.certificate} cannot be used: {error}") from None
    if tls.clientcas:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class Certificate:
    """What one worker serves now."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._stamp = self._look_at_files()
        self.context = make_context(tls)
        self._tell_expiry()

    def _look_at_files(self) -> tuple[tuple[int, int, int], ...]:
        """What changes when a file is written or replaced (Kubernetes swaps symbolic links: the inode tells)."""
        found = []
        for path in (self._tls.certificate, self._tls.key, *self._tls.clientcas):
            try:
                stat = os.stat(path)
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)

    def _tell_expiry(self) -> None:
        metrics.certificate_expiry.set(_leaf(self._tls.certificate).not_valid_after_utc.timestamp())

    def look(self) -> bool:
        """True when new files are served from now on."""
        stamp = self._look_at_files()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            warnings = check(self._tls)
            context = make_context(self._tls)
        except StartRefused as refused:
            log.error("the renewed certificate is not used, the old one stays", reason=str(refused))
            return False
        self.context = context
        self._tell_expiry()
        log.info("serving the renewed certificate", certificate=self._tls.certificate)
        for warning in warnings:
            log.warning(warning)
        return True
