"""A CA of an operator's own, and what it gives to hosts: good certificates and bad ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
_HASH = hashes.SHA256()


def new_key(kind: str = "ec") -> Any:
    """Return a fresh private key."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:] or 2048))
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Paper:
    """A certificate and its key."""

    cert: x509.Certificate
    key: Any

    @property
    def pem(self) -> str:
        """The certificate."""
        return self.cert.public_bytes(Encoding.PEM).decode()

    @property
    def secret(self) -> bytes:
        """The private key."""
        return bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@dataclass
class HostCa:
    """An operator's own CA; below another one, if that is given."""

    name: str = "Hosts"
    above: "HostCa | None" = None
    key: Any = field(default_factory=new_key)
    constraints: x509.NameConstraints | None = None
    cert: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        """Make its certificate."""
        above = self.above
        issuer = above.cert.subject if above else _named(self.name)
        basic = x509.BasicConstraints(ca=True, path_length=0 if above else None)
        builder = (
            _builder(_named(self.name), issuer, self.key.public_key(), 24 * 365)
            .add_extension(basic, critical=True)
            .add_extension(_usage(ca=True), critical=True)
        )
        if above:
            known = x509.AuthorityKeyIdentifier.from_issuer_public_key(above.key.public_key())
            builder = builder.add_extension(known, critical=False)
        if self.constraints:
            builder = builder.add_extension(self.constraints, critical=True)
        self.cert = builder.sign(above.key if above else self.key, _HASH)

    @property
    def pem(self) -> str:
        """Its certificate."""
        return self.cert.public_bytes(Encoding.PEM).decode()

    def issue(  # noqa: PLR0913
        self,
        common: str = "web1.example",
        *names: str,
        kind: str = "ec",
        usage: Sequence[x509.ObjectIdentifier] = (CLIENT,),
        begins: float = -1,
        hours: float = 24,
        ca: bool = False,
        signs: bool = True,
    ) -> Paper:
        """Return a certificate for a host; *names* are its alternative names."""
        key = new_key(kind)
        known = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = (
            _builder(_named(common), self.cert.subject, key.public_key(), hours, begins)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_usage(ca=ca, signs=signs), critical=True)
            .add_extension(known, critical=False)
        )
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        if names:
            more = [x509.DNSName(name) for name in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(more), critical=False)
        return Paper(builder.sign(self.key, _HASH), key)

    def revoking(self, *papers: Paper, hours: float = 24) -> bytes:
        """Return the list of the certificates that are good no longer."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.cert.subject)
            .last_update(now - timedelta(days=2))
            .next_update(now + timedelta(hours=hours))
        )
        for one in papers:
            revoked = (
                x509.RevokedCertificateBuilder()
                .serial_number(one.cert.serial_number)
                .revocation_date(now - timedelta(days=2))
                .build()
            )
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self.key, _HASH).public_bytes(Encoding.PEM)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, ca: bool, signs: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs, content_commitment=False, key_encipherment=not signs,
        data_encipherment=False, key_agreement=False, key_cert_sign=ca, crl_sign=ca,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Any, hours: float, begins: float = -1
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(hours=begins))
        .not_valid_after(now + timedelta(hours=hours))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def turned_around(cert: x509.Certificate) -> x509.Certificate:
    """Return the same certificate with its ECDSA signature (P-256) written in the other way."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = decode_dss_signature(cert.signature)
    body = cert.public_bytes(Encoding.DER)[4:]
    old, new = cert.signature, encode_dss_signature(r, order - s)
    bits = b"\x03" + bytes([len(old) + 1]) + b"\0" + old
    assert body.endswith(bits)
    body = body[: -len(bits)] + b"\x03" + bytes([len(new) + 1]) + b"\0" + new
    return x509.load_der_x509_certificate(b"\x30\x82" + len(body).to_bytes(2, "big") + body)
