"""The house's own certificate authority: who may speak to the broker, and as whom.

ECDSA on P-256, TLS 1.3. The common name of a client's certificate is its user at the broker, whose access list lets a
door write below `face-unlock/NAME/` alone. A door that was stolen is put on the revocation list.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from device.desk.credentials import is_host
from device.errors import UsageError

YEARS = timedelta(days=3650)
BACKDATED = timedelta(days=1)  # a board without a battery may think it is yesterday


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and its private key, PEM; `serial` is by what it is revoked."""

    certificate: str
    key: str
    serial: int


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority of one house."""

    certificate: str
    key: str

    @classmethod
    def new(cls, now: datetime) -> Authority:
        """Make an authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("face-unlock fleet")
        builder = _builder(name, name, key, now).add_extension(x509.BasicConstraints(True, 0), critical=True)
        builder = builder.add_extension(_usage(signs=True), critical=True)
        return cls(_pem(builder.sign(key, SHA256())), _key_pem(key))

    def server(self, host: str, now: datetime) -> Credential:
        """Return what the broker at a host shows."""
        names = [x509.DNSName("localhost"), _general(host)]
        return self._issue(host, ExtendedKeyUsageOID.SERVER_AUTH, now, x509.SubjectAlternativeName(names))

    def page(self, names: Sequence[str], now: datetime) -> Credential:
        """Return what a door's status page shows, under each of its names and addresses."""
        known = x509.SubjectAlternativeName([_general(name) for name in names])
        return self._issue(names[0], ExtendedKeyUsageOID.SERVER_AUTH, now, known)

    def client(self, user: str, now: datetime) -> Credential:
        """Return what a user of the broker shows."""
        return self._issue(user, ExtendedKeyUsageOID.CLIENT_AUTH, now)

    def revocations(self, serials: Iterable[int], now: datetime) -> str:
        """Return the list of what is revoked, for the broker."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._certificate.subject)
        builder = builder.last_update(now - BACKDATED).next_update(now + YEARS)
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self._private, SHA256()).public_bytes(Encoding.PEM).decode()

    @property
    def _certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate.encode())

    @property
    def _private(self) -> ec.EllipticCurvePrivateKey:
        key = load_pem_private_key(self.key.encode(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def _issue(
        self,
        user: str,
        purpose: x509.ObjectIdentifier,
        now: datetime,
        names: x509.SubjectAlternativeName | None = None,
    ) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(user), self._certificate.subject, key, now)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        builder = builder.add_extension(_usage(signs=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        # Python 3.13 refuses a certificate that does not name its issuer's key.
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._private.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        made = builder.sign(self._private, SHA256())
        return Credential(_pem(made), _key_pem(key), made.serial_number)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.not_valid_before(now - BACKDATED).not_valid_after(now + YEARS)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    return builder.serial_number(x509.random_serial_number())


def _general(host: str) -> x509.GeneralName:
    """Return an address or a name as a certificate has it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def checked_host(text: str) -> str:
    """Return a name or an address as a browser sends it; UsageError where it is none."""
    if is_host(text):
        return str(_general(text).value).lower()
    raise UsageError(
        f"--at {text[:60]!r}: expected an address or a name, such as 192.168.1.7 or front.lan: no port, no https://"
    )


def _name(user: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user)])


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


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def utc_now() -> datetime:
    return datetime.now(timezone.utc)
