"""Bearer tokens: signed JSON (RFC 7519) that says who may do what, verified with keys from our own files alone.

    token --remembered--> actor
      `--> header: alg allowed? --> keys: the one `kid` names, else all of that alg's type --> signature --> claims --> remembered till exp

Invariants
- The key comes from the certificate bundle or the JWKS file, never from the token: `jwk`, `jku`, `x5c` and `x5u` of its header
  are not read, and `kid` only picks among our keys (CVE-2025-24976 was a key taken from the header because its id matched).
- An algorithm belongs to a type of key: RS and PS to RSA, ES to its curve, EdDSA to Ed25519 and Ed448. `none` and HS are not in
  the table, so that no public key can be used as a shared secret.
- `iss` is our issuer, `aud` (text or list) holds our service, `exp` is there and not over, `nbf` is not to come; `leeway` forgives
  the clocks. A remembered token dies at its `exp`, and all are forgotten when keys change.

A certificate's key goes by its libtrust id (what docker's token services write as `kid`), a JWKS key by its own `kid` as well.
Callers: providers/token.py.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, OKPKey, RSAKey

from cargohold.auth.identity import Actor, Grant, Kind
from cargohold.auth.recent import Recent
from cargohold.telemetry import log

REMEMBERED = 4096
LARGEST = 64 * 1024
"""Bytes of a token; a request's headers have no more either."""
SMALLEST_RSA = 2048
_CURVES = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("EdDSA",), "Ed448": ("EdDSA",)}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ALGORITHMS = ("ES256", "ES384", "ES512", *_RSA, "EdDSA")

PublicKey = RSAKey | ECKey | OKPKey


class TokenInvalid(Exception):
    """This token proves nothing here; `str()` says why, without a word of the token."""


class Header(msgspec.Struct):
    alg: str
    kid: str | None = None


class Access(msgspec.Struct):
    type: str
    name: str
    actions: list[str] | None = None


class Claims(msgspec.Struct):
    iss: str
    aud: str | list[str]
    exp: float
    nbf: float | None = None
    sub: str | None = None
    access: list[Access] | None = None


_header = msgspec.json.Decoder(Header)
_claims = msgspec.json.Decoder(Claims)


class TrustedKey(msgspec.Struct, frozen=True):
    key: PublicKey
    algorithms: frozenset[str]
    ids: frozenset[str]


def libtrust_id(spki: bytes) -> str:
    """`PYYO:TEWU:...`: SHA-256 of the DER public key, its first 30 bytes in base32, twelve groups of four."""
    text = base64.b32encode(hashlib.sha256(spki).digest()[:30]).decode()
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))


def trusted(key: PublicKey, allowed: Iterable[str], *, kid: str | None = None, alg: str | None = None) -> TrustedKey:
    """The public half of a key with the algorithms it may verify. Raises `ValueError` when there is none, or it is too weak."""
    if isinstance(key, RSAKey):
        _refuse_weak(key.public_key)
        able: Sequence[str] = _RSA
    else:
        able = _CURVES.get(key.curve_name, ())
    algorithms = frozenset(able) & frozenset(allowed) & (frozenset([alg]) if alg else frozenset(ALGORITHMS))
    if not algorithms:
        raise ValueError("none of the accepted algorithms goes with this key")
    public = key.public_key
    ids = {libtrust_id(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))} | ({kid} if kid else set())
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return TrustedKey(type(key).import_key(pem), algorithms, frozenset(ids))


def from_certificates(pem: bytes, allowed: Iterable[str]) -> list[TrustedKey]:
    """The keys of a PEM bundle. Raises `ValueError` when there is no certificate, or one cannot be used."""
    certificates = x509.load_pem_x509_certificates(pem)
    keys = []
    for number, certificate in enumerate(certificates, 1):
        if certificate.not_valid_after_utc < datetime.now(UTC):
            log.warning("a certificate of the token service has expired; its key still verifies", certificate=number)
        try:
            keys.append(trusted(_native(certificate), allowed))
        except (ValueError, JoseError) as error:
            raise ValueError(f"certificate {number}: {error}") from None
    return keys


def _refuse_weak(key: object) -> None:
    if isinstance(key, RSAPublicKey) and key.key_size < SMALLEST_RSA:
        raise ValueError(f"an RSA key has {SMALLEST_RSA} bits or more")


def _native(certificate: x509.Certificate) -> PublicKey:
    _refuse_weak(certificate.public_key())
    pem = certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for kind in (RSAKey, ECKey, OKPKey):
        try:
            return kind.import_key(pem)
        except (ValueError, TypeError, JoseError):
            continue
    raise ValueError("its type of key signs no tokens")


def from_jwks(content: bytes, allowed: Iterable[str]) -> list[TrustedKey]:
    """The signing keys of a JWKS (RFC 7517). Keys for other uses and unknown types are passed over; a shared secret never counts.

    Raises `ValueError` when the file is no JWKS, or nothing in it verifies tokens.
    """
    try:
        entries = msgspec.json.decode(content, type=dict[str, object])["keys"]
        parsed = msgspec.convert(entries, list[dict[str, object]])
    except (msgspec.MsgspecError, KeyError) as error:
        raise ValueError("not a JWKS: an object with a list named keys") from error
    keys = []
    for number, entry in enumerate(parsed, 1):
        try:
            keys.append(_from_jwk(entry, allowed))
        except (ValueError, TypeError, JoseError) as error:
            log.warning("key of the JWKS is not used", number=number, cause=str(error) or type(error).__name__)
    if not keys:
        raise ValueError("no key in it can verify tokens")
    return keys


def _from_jwk(entry: dict[str, object], allowed: Iterable[str]) -> TrustedKey:
    kinds: dict[object, type[RSAKey] | type[ECKey] | type[OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
    kind = kinds.get(entry.get("kty"))
    if kind is None:
        raise ValueError("kty is RSA, EC or OKP")
    if entry.get("use", "sig") != "sig":
        raise ValueError("its use is not sig")
    kid, alg = entry.get("kid"), entry.get("alg")
    material = {name: value for name, value in entry.items() if name in {"kty", "n", "e", "crv", "x", "y"}}
    return trusted(
        kind.import_key(material),  # type: ignore[arg-type] # it checks the shape itself
        allowed,
        kid=kid if isinstance(kid, str) else None,
        alg=alg if isinstance(alg, str) else None,
    )


class OneAlgorithm(jws.JWSRegistry):
    """Headers are free to hold what they like (chains of certificates make them long); the signature is of this kind alone."""

    max_header_length = max_payload_length = max_signature_length = LARGEST

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithms=[algorithm], strict_check_header=False)

    def get_alg(self, name: str) -> JWSAlgModel:
        """As its parent, without the warning that EdDSA has newer names (RFC 9864): what is allowed is the settings' matter."""
        if self.allowed is None or name not in self.allowed:
            raise UnsupportedAlgorithmError()
        return self.algorithms[name]


class Verifier:
    """`clock` is Unix time in seconds."""

    def __init__(self, *, issuer: str, service: str, leeway: float, clock: Callable[[], float] = time.time) -> None:
        self._issuer, self._service, self._leeway, self._clock = issuer, service, leeway, clock
        self._keys: list[TrustedKey] = []
        self._remembered: Recent[bytes, tuple[Actor, float]] = Recent(REMEMBERED)
        self._jws = {algorithm: OneAlgorithm(algorithm) for algorithm in ALGORITHMS}

    def trust(self, keys: list[TrustedKey]) -> None:
        """From now on these keys; what others have signed is forgotten."""
        self._keys = keys
        self._remembered.clear()

    def knows(self, token: str) -> bool:
        """The token's `kid`, if it has one, is that of a key here."""
        kid = self._header(token).kid
        return kid is None or any(kid in key.ids for key in self._keys)

    def actor(self, token: str) -> Actor:
        """Raises `TokenInvalid`. One hash for a token that is remembered, one or more signatures else."""
        mark = hashlib.blake2b(token.encode("latin-1"), digest_size=32).digest()
        now = self._clock()
        found = self._remembered.get(mark)
        if found is not None:
            if now < found[1]:
                return found[0]
            self._remembered.drop(mark)
        claims = self._claims(self._payload(token), now)
        grants = frozenset(Grant(access.type, access.name, action) for access in claims.access or () for action in access.actions or ())
        actor = Actor(kind=Kind.BEARER, name=claims.sub or "", grants=grants)
        self._remembered.keep(mark, (actor, claims.exp + self._leeway))
        return actor

    def _header(self, token: str) -> Header:
        head = token.partition(".")[0]
        try:
            return _header.decode(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
        except (ValueError, msgspec.MsgspecError):
            raise TokenInvalid("it is not a signed JSON web token") from None

    def _payload(self, token: str) -> bytes:
        if len(token) > LARGEST:
            raise TokenInvalid("it is too long")
        header = self._header(token)
        able = [key for key in self._keys if header.alg in key.algorithms]
        named = [key for key in able if header.kid in key.ids]
        for candidate in named or able:
            try:
                return jws.deserialize_compact(token, candidate.key, registry=self._jws[header.alg]).payload
            except (JoseError, ValueError, TypeError):
                continue
        raise TokenInvalid("no key of this registry has signed it")

    def _claims(self, payload: bytes, now: float) -> Claims:
        try:
            claims = _claims.decode(payload)
        except (msgspec.MsgspecError, ValueError) as error:
            raise TokenInvalid("its claims have the wrong form") from error
        if claims.iss != self._issuer:
            raise TokenInvalid("another issuer made it")
        if self._service not in ([claims.aud] if isinstance(claims.aud, str) else claims.aud):
            raise TokenInvalid("it is for another service")
        if now >= claims.exp + self._leeway:
            raise TokenInvalid("it has expired")
        if claims.sub and "\0" in claims.sub:
            raise TokenInvalid("its subject is no name")
        if claims.nbf is not None and now < claims.nbf - self._leeway:
            raise TokenInvalid("it is not valid yet")
        return claims
