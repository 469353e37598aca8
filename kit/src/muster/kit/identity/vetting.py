"""Certificates of hosts, from a CA of the operator's own: whether one is good, and whose it is.

Only RSA (2048 bits or more), ECDSA and Ed25519; only certificates that are meant for clients.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy

from muster.contracts.errors import Denied, Malformed

_LABEL: Final = r"[a-z0-9_][a-z0-9_-]{0,62}"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\Z")
_CHAIN: Final = 8
_BITS: Final = 2048
_HASH: Final = hashes.SHA256()
_PSS: Final = padding.PSS(padding.MGF1(_HASH), padding.PSS.DIGEST_LENGTH)
_END: Final = b"-----END X509 CRL-----"
_BAD: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What a certificate that somebody has made up may raise."""


@dataclass(frozen=True, slots=True)
class Vetted:
    """What is known of a host by its certificate."""

    name: str
    """A host name that the CA has put into it."""
    subject: str
    serial: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Vetting:
    """Whose certificates are good, and for which names."""

    authorities: Sequence[x509.Certificate]
    lists: Sequence[x509.CertificateRevocationList] | None = None
    """If there are any, each issuer must have one that is current."""
    names: Sequence[str] = ()
    """Patterns such as ``*.prod.example``, of which a name must fit one; empty: any name."""

    @classmethod
    def of(cls, authorities: bytes, lists: bytes | None, names: Sequence[str]) -> "Vetting":
        """Read the files (PEM) of an operator, or raise `ValueError`."""
        found = x509.load_pem_x509_certificates(authorities)
        if lists is None:
            return cls(found, None, names)
        parts = lists.split(_END)[:-1]
        return cls(found, [x509.load_pem_x509_crl(part + _END) for part in parts], names)

    def vet(self, chain: str, now: datetime) -> Vetted:
        """Return what the certificate says, or raise `Denied`; *chain* begins with it."""
        found = _loaded(chain)
        try:
            path = self._path(found, now)
            if self.lists is not None:
                _not_revoked(path, self.lists, now)
            name = self._name(path)
            subject = found[0].subject.rfc4514_string()
        except _BAD as error:
            raise Denied("the certificate cannot be read") from error
        if not name:
            raise Denied("the certificate has no host name that may join here")
        return Vetted(
            name=name,
            subject=subject,
            serial=f"{found[0].serial_number:x}",
            # what the CA has signed: an ECDSA signature can be written in another way by anybody
            fingerprint=hashlib.sha256(found[0].tbs_certificate_bytes).hexdigest(),
        )

    def _path(self, chain: list[x509.Certificate], now: datetime) -> list[x509.Certificate]:
        """Return the certificates from the host's up to the CA that is trusted."""
        leaf = chain[0]
        if now < leaf.not_valid_before_utc:
            raise Denied("the certificate is not valid yet: look at the clocks")
        if now > leaf.not_valid_after_utc:
            raise Denied("the certificate has expired: get another one")
        if not _usable(leaf.public_key()):
            raise Denied("the certificate's key is not RSA of 2048 bits, ECDSA or Ed25519")
        store = verification.Store(list(self.authorities))
        verifier = (
            verification.PolicyBuilder()
            .store(store)
            .time(now)
            .max_chain_depth(_CHAIN)
            .extension_policies(
                ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=_for_clients()
            )
            .build_client_verifier()
        )
        try:
            return verifier.verify(leaf, chain[1:]).chain
        except verification.VerificationError as error:
            why = str(error).split(" (encountered")[0][:150]
            raise Denied(f"the certificate is not one that may join here: {why}") from error

    def _name(self, path: Sequence[x509.Certificate]) -> str:
        """Return the first name that is one of a host and may join; nothing if there is none."""
        patterns = [pattern.lower() for pattern in self.names] or ["*"]
        for name in _names(path):
            if _HOST.match(name) and any(fnmatchcase(name, one) for one in patterns):
                return name
        return ""


def _names(path: Sequence[x509.Certificate]) -> list[str]:
    """Return the host names of a certificate; its common name only if there is no other kind.

    What a CA on the path may not name is checked for the other kind alone (RFC 5280, 4.2.1.10).
    """
    cert = path[0]
    try:
        more = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        if any(_constrained(ca) for ca in path[1:]):
            return []
        common = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return [str(one.value).lower() for one in common[:1]]
    return [str(name).lower() for name in more.get_values_for_type(x509.DNSName)]


def _constrained(ca: x509.Certificate) -> bool:
    try:
        ca.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        return False
    return True


def _for_clients() -> ExtensionPolicy:
    """Return what a host's certificate must say; alternative names are not known to every CA."""
    return (
        ExtensionPolicy.permit_all()
        .require_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _is_for_clients)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
        .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_no_ca)
    )


def _is_for_clients(_policy: Any, _cert: Any, usage: x509.ExtendedKeyUsage) -> None:
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise ValueError("it is not for clients (extended key usage clientAuth)")


def _may_sign(_policy: Any, _cert: Any, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.digital_signature:
        raise ValueError("its key may not sign (key usage digitalSignature)")


def _is_no_ca(_policy: Any, _cert: Any, basic: x509.BasicConstraints | None) -> None:
    if basic is not None and basic.ca:
        raise ValueError("it is one of a CA")


def _not_revoked(
    path: Sequence[x509.Certificate],
    known: Sequence[x509.CertificateRevocationList],
    now: datetime,
) -> None:
    """Raise unless the issuer of each certificate has a current list, without it."""
    for cert, issuer in pairwise(path):
        mine = [one for one in known if one.issuer == issuer.subject and _signed(one, issuer)]
        current = [one for one in mine if one.next_update_utc and one.next_update_utc > now]
        if not current:
            raise Denied("there is no current revocation list of the certificate's issuer")
        if any(one.get_revoked_certificate_by_serial_number(cert.serial_number) for one in current):
            raise Denied("the certificate has been revoked")


def _signed(listed: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    return listed.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]


def _loaded(chain: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(chain.encode())
    except _BAD as error:
        raise Denied("that is no certificate in PEM") from error
    if len(found) > _CHAIN:
        raise Denied(
            f"more than {_CHAIN} certificates: send the host's own and what leads to the CA"
        )
    return found


def _usable(key: object) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= _BITS
    return isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey)


def join_text(nonce: str, public_key: str, hostname: str, *, force: bool = False) -> bytes:
    """Return what a host signs with its certificate's key to join."""
    return f"muster join|{nonce}|{public_key}|{hostname}|{force}".encode()


def proves(chain: str, text: bytes, signature: bytes) -> bool:
    """Whether *signature* on *text* is of the key of the first certificate."""
    try:
        key = _loaded(chain)[0].public_key()
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, text, _PSS, _HASH)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, text, ec.ECDSA(_HASH))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, text)
        else:
            return False
    except (InvalidSignature, *_BAD):
        return False
    return True


def signed(chain: str, secret: bytes, text: bytes) -> bytes:
    """Return the signature on *text* with the private key *secret* (PEM) of the certificate."""
    try:
        key = load_pem_private_key(secret, None)
    except _BAD as error:
        raise Malformed("that is no private key in PEM without a password") from error
    if isinstance(key, rsa.RSAPrivateKey):
        made = key.sign(text, _PSS, _HASH)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        made = key.sign(text, ec.ECDSA(_HASH))
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        made = key.sign(text)
    else:
        raise Malformed("the private key is not RSA, ECDSA or Ed25519")
    if not proves(chain, text, made):
        raise Malformed("the private key is not that of the certificate")
    return made


def pem_of(chain: bytes) -> str:
    """Return the certificates in a file, without anything else that may be in it."""
    try:
        found = x509.load_pem_x509_certificates(chain)
    except _BAD as error:
        raise Malformed("that is no certificate in PEM") from error
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in found)
