"""Throw-away secrets of one run: an htpasswd file, a signed bearer token, a certificate for 127.0.0.1."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import time
from pathlib import Path
from typing import Any

import bcrypt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jwk, jwt

_USER, _PASSWORD = "bench", "not a secret"
_SERVICE, _ISSUER = "bench-registry", "bench-issuer"


class Credentials:
    """`folder` gets the files; everything is valid for a day."""

    def __init__(self, folder: Path) -> None:
        self.key = folder / "server.key"
        self.certificate = folder / "server.crt"
        self.htpasswd = folder / "htpasswd"
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.key.write_bytes(pem)
        self.certificate.write_bytes(_certificate(key))
        self.htpasswd.write_bytes(_USER.encode() + b":" + bcrypt.hashpw(_PASSWORD.encode(), bcrypt.gensalt(10)) + b"\n")
        self._token = _token(pem)

    def headers(self, auth: str) -> dict[str, str]:
        if auth == "htpasswd":
            return {"Authorization": "Basic " + base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()}
        return {"Authorization": f"Bearer {self._token}"} if auth == "token" else {}

    def config(self, auth: str) -> dict[str, Any]:
        """The `auth` section of a config.yml."""
        if auth == "htpasswd":
            return {"htpasswd": {"realm": "bench", "path": str(self.htpasswd)}}
        return {
            "token": {
                "realm": "http://127.0.0.1/token",
                "service": _SERVICE,
                "issuer": _ISSUER,
                "rootcertbundle": str(self.certificate),
            }
        }


def _certificate(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def _token(pem: bytes) -> str:
    key = jwk.ECKey.import_key(pem)
    now = int(time.time())
    access = [
        {"type": "repository", "name": "bench/app", "actions": ["pull", "push", "delete"]},
        {"type": "registry", "name": "catalog", "actions": ["*"]},
    ]
    claims = {
        "iss": _ISSUER,
        "sub": _USER,
        "aud": _SERVICE,
        "exp": now + 86400,
        "nbf": now - 60,
        "iat": now,
        "jti": "bench",
        "access": access,
    }
    return jwt.encode({"alg": "ES256", "typ": "JWT"}, claims, key)
