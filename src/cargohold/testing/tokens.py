"""A token service for tests: a signing key, its certificate and JWKS as files, and tokens with any claims and header.

    service = TokenService()
    settings = service.settings(folder)                        # auth.kind token, the bundle written into the folder
    token = service.token("ann", "repository:team/app:pull,push")

Signs with `cryptography` alone, so that the verifier is not tested against its own library.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from cargohold.auth.tokens import libtrust_id
from cargohold.config.settings import Auth, Token


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(value: int, size: int) -> str:
    return base64url(value.to_bytes(size, "big"))


class TokenService:
    def __init__(
        self,
        *,
        issuer: str = "https://auth.example",
        service: str = "registry.example",
        realm: str = "https://auth.example/token",
        algorithm: str = "ES256",
    ) -> None:
        """`algorithm` is ES256 or RS256."""
        self.issuer, self.service, self.realm, self.algorithm = issuer, service, realm, algorithm
        self.key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = (
            ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else rsa.generate_private_key(65537, 2048)
        )
        self.public_der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.kid = libtrust_id(self.public_der)

    def certificate(self, *, days: int = 30) -> bytes:
        """Self-signed, PEM; with negative `days` it has expired."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.issuer)])
        now = datetime.now(UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=abs(days) + 1))
            .not_valid_after(now + timedelta(days=days))
            .sign(self.key, hashes.SHA256())
        )
        return built.public_bytes(Encoding.PEM)

    def jwk(self, **members: object) -> dict[str, object]:
        """The public key (RFC 7517) with its libtrust id as `kid`; `members` add or replace."""
        public = self.key.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            numbers = public.public_numbers()
            shape = {"kty": "RSA", "n": _number(numbers.n, 256), "e": base64url(numbers.e.to_bytes(3, "big"))}
        else:
            point = public.public_numbers()
            shape = {"kty": "EC", "crv": "P-256", "x": _number(point.x, 32), "y": _number(point.y, 32)}
        return {**shape, "use": "sig", "kid": self.kid, **members}

    def jwks(self) -> bytes:
        return json.dumps({"keys": [self.jwk()]}).encode()

    def settings(self, folder: Path, *, jwks: bool = False) -> Auth:
        """Writes the bundle (or the JWKS) into the folder."""
        path = folder / ("jwks.json" if jwks else "bundle.pem")
        path.write_bytes(self.jwks() if jwks else self.certificate())
        token = Token(
            realm=self.realm,
            service=self.service,
            issuer=self.issuer,
            rootcertbundle="" if jwks else str(path),
            jwks=str(path) if jwks else "",
        )
        return Auth(kind="token", token=token)

    def token(
        self,
        subject: str = "",
        *scopes: str,
        lifetime: float = 300,
        header: dict[str, object] | None = None,
        claims: dict[str, object] | None = None,
    ) -> str:
        """`scopes` are `repository:team/app:pull,push`; `header` and `claims` add or replace, a value of None takes out."""
        now = int(time.time())
        access = [dict(zip(("type", "name", "actions"), _scope(text), strict=True)) for text in scopes]
        body: dict[str, object] = {
            "iss": self.issuer,
            "aud": self.service,
            "sub": subject,
            "exp": now + lifetime,
            "nbf": now - 10,
            "iat": now,
            "jti": hashlib.sha256(f"{now} {subject}".encode()).hexdigest()[:16],
            "access": access,
            **(claims or {}),
        }
        head: dict[str, object] = {"typ": "JWT", "alg": self.algorithm, "kid": self.kid, **(header or {})}
        parts = [json.dumps({name: value for name, value in part.items() if value is not None}).encode() for part in (head, body)]
        signed = ".".join(map(base64url, parts))
        return f"{signed}.{base64url(self.sign(signed.encode()))}"

    def sign(self, content: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(content, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self.key.sign(content, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _scope(text: str) -> tuple[str, str, list[str]]:
    kind, _, rest = text.partition(":")
    name, _, actions = rest.rpartition(":")
    return kind, name, actions.split(",")
