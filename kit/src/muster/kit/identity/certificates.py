"""The server's own certificate authority, and TLS contexts that verify it.

ECDSA P-256, TLS 1.2 or newer. The CA lives ten years, a server certificate one.
"""

import hashlib
import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_MOST: Final = 64 * 1024
"""Characters of a bundle: some 80 certificates."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, in PEM."""

    cert: bytes
    key: bytes


def create_ca(name: str = "Muster CA", *, after: datetime | None = None) -> Issued:
    """Return a fresh certificate authority, whose life begins no earlier than *after*."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_named(name), _named(name), key.public_key(), timedelta(days=3652), after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
    )
    return _issued(builder.sign(key, hashes.SHA256()), key)


def issue_server(ca: Issued, hosts: Iterable[str], *, days: int = 365) -> Issued:
    """Return a server certificate for *hosts* (names or addresses)."""
    names = [_general(host) for host in dict.fromkeys(hosts)]
    issuer = x509.load_pem_x509_certificate(ca.cert)
    ca_key = _private(ca.key)
    key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = (
        _builder(_named("muster"), issuer.subject, key.public_key(), timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(authority, critical=False)
    )
    return _issued(builder.sign(ca_key, hashes.SHA256()), key)


def vouch(ca: Issued, other: bytes, now: datetime) -> bytes | None:
    """Return a certificate in which *ca* says that *other* is an authority; None if it may not.

    An authority that has expired can vouch for nobody.
    """
    issuer, wanted = x509.load_pem_x509_certificate(ca.cert), x509.load_pem_x509_certificate(other)
    if issuer.not_valid_after_utc <= now:
        return None
    public = wanted.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)  # noqa: S101  # we made it
    ca_key = _private(ca.key)
    until = min(issuer.not_valid_after_utc, wanted.not_valid_after_utc)
    builder = (
        _builder(wanted.subject, issuer.subject, public, until - datetime.now(UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
    )
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def split(bundle: str) -> list[str]:
    """Return the certificates of a bundle one by one, each as we would write it.

    Raises `ValueError` if there is none, or something that is none, or far too many.
    """
    if len(bundle) > _MOST:
        raise ValueError("that is too long for certificates")
    try:
        found = x509.load_pem_x509_certificates(bundle.encode())
    except (x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise ValueError("that is no certificate that can be read") from error
    return [one.public_bytes(Encoding.PEM).decode() for one in found]


def is_key_of(key: bytes, cert: bytes) -> bool:
    """Whether the private key in the PEM *key* is that of the certificate *cert*."""
    try:
        public = _private(key).public_key()
    except ValueError:  # there is none in it
        return False
    return x509.load_pem_x509_certificate(cert).public_key() == public


def issued_by(ca: bytes, cert: bytes) -> bool:
    """Whether the authority *ca* has issued *cert*."""
    try:
        x509.load_pem_x509_certificate(cert).verify_directly_issued_by(
            x509.load_pem_x509_certificate(ca)
        )
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def names_of(cert: bytes) -> list[str]:
    """Return the names and addresses that a server's certificate is for."""
    found = x509.load_pem_x509_certificate(cert)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def blind_context() -> ssl.SSLContext:
    """Return a context that trusts anybody: for a first look at a CA, which is compared next.

    Nothing secret may be sent by it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def fingerprint(pem: str | bytes) -> str:
    """Return the SHA-256 of a certificate's DER, hexadecimal."""
    data = pem.encode() if isinstance(pem, str) else pem
    return hashlib.sha256(
        x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER)
    ).hexdigest()


def serves(pem: bytes, hosts: Iterable[str], now: datetime) -> bool:
    """Whether a certificate names all *hosts* and is valid for another 30 days."""
    cert = x509.load_pem_x509_certificate(pem)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    named = all(_general(host) in names for host in hosts)
    return named and cert.not_valid_after_utc > now + timedelta(days=30)


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Return the context of a listener."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    return context


def client_context(ca: str) -> ssl.SSLContext:
    """Return the context of a client that trusts the authority *ca* (PEM) and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca)
    return context


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101  # we made it
    return key


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    life: timedelta,
    after: datetime | None = None,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    begins = now - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(begins, after) if after else begins)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _issued(cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Issued(cert.public_bytes(Encoding.PEM), secret)
