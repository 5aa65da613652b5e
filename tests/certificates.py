"""Certificates for tests: authorities, what they sign, and folders as COVSVC_TLS names them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Somebody who signs certificates."""

    def __init__(self, name: str = "authority") -> None:
        self.name, self.key = name, ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(name, self.key, days=1, is_authority=True)

    def issue(self, folder: Path, *, days: int = 1, password: bytes | None = None) -> Path:
        """Write ca.pem, cert.pem and key.pem, valid for so many days; those of less than none are over."""
        folder.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / "ca.pem").write_bytes(_pem(self.certificate))
        (folder / "cert.pem").write_bytes(_pem(self._sign("guest", key, days=days, is_authority=False)))
        lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (folder / "key.pem").touch(0o600)
        (folder / "key.pem").write_bytes(key.private_bytes(*form, lock))
        return folder

    def _sign(self, name: str, key: Any, *, days: int, is_authority: bool) -> x509.Certificate:
        end = datetime.now(UTC) + timedelta(days=days)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - timedelta(days=10))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
