"""A certificate authority of the run's own: server certificates for reg.test and the loopback addresses, and client certificates.

Files in its folder: trusted/ca.crt (alone, as certificate folders of clients want it), NAME.crt and NAME.key.
Keys are ECDSA P-256, certificates live for 90 days.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = ("reg.test", "localhost")
ADDRESSES = ("127.0.0.1", "::1")


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.certificate = folder / "trusted" / "ca.crt"
        self.certificate.parent.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name("interop test CA")
        built = self._draft("interop test CA", self._key.public_key()).add_extension(x509.BasicConstraints(True, 0), critical=True)
        self.certificate.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def server(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for every name and address of the run."""
        places: list[x509.GeneralName] = [x509.DNSName(host) for host in NAMES]
        places += [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
        return self._issue(name, ExtendedKeyUsageOID.SERVER_AUTH, x509.SubjectAlternativeName(places))

    def client(self, name: str) -> tuple[Path, Path]:
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, x509.SubjectAlternativeName([x509.DNSName(f"{name}.client")]))

    def _draft(self, subject: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=90))
        )

    def _issue(self, name: str, usage: x509.ObjectIdentifier, places: x509.SubjectAlternativeName) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        draft = self._draft(name, key.public_key()).add_extension(x509.BasicConstraints(False, None), critical=True)
        draft = draft.add_extension(places, critical=False).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        certificate, private = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(draft.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        )
        private.chmod(0o600)
        return certificate, private
