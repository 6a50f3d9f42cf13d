"""An authority and certificates of the tests' own, made when they are asked for and kept in one directory."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)


class Certificate(NamedTuple):
    """Files in PEM. both: key and certificate in one, as Kafka wants a keystore."""

    cert: Path
    key: Path
    both: Path


class Authority:
    """Signs for whoever asks. `ca`: the file that clients are to trust."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _named(f"{name} authority")
        now = datetime.now(UTC)
        builder = _begin(self._subject, self._subject, self._key.public_key(), now - 60 * _DAY, now + _DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        own = builder.add_extension(_usage(signs=True), critical=True).sign(self._key, hashes.SHA256())
        self._identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        self.ca = directory / f"{name}-ca.pem"
        self.ca.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, name: str, hosts: Sequence[str] = ("127.0.0.1", "::1"), *, expired: bool = False, passphrase: str = ""
    ) -> Certificate:
        """hosts: addresses and names it is good for. passphrase: encrypts the key."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        begin, end = (now - 30 * _DAY, now - _DAY) if expired else (now - _DAY, now + _DAY)
        builder = _begin(_named(name), self._subject, key.public_key(), begin, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        builder = builder.add_extension(self._identifier, critical=False)
        signed = builder.add_extension(_usage(signs=False), critical=True).sign(self._key, hashes.SHA256())
        hidden = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else None
        files = Certificate(*(self._directory / f"{self._name}-{name}.{end}" for end in ("crt", "key", "pem")))
        cert = signed.public_bytes(serialization.Encoding.PEM)
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden or serialization.NoEncryption()
        )
        files.cert.write_bytes(cert)
        files.key.write_bytes(text)
        files.both.write_bytes(text + cert)
        return files


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
