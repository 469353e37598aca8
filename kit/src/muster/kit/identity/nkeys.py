"""NATS nkeys: Ed25519 keys with a readable, checksummed form.

base32(prefix byte + 32 raw bytes + CRC-16/XMODEM, little-endian), without padding.
Source: github.com/nats-io/nkeys, and ADR-14 of NATS.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Kind = Literal["O", "A", "U"]
"""Operator, account or user."""

_PREFIX: Final[dict[Kind, int]] = {"O": 14 << 3, "A": 0, "U": 20 << 3}
_SEED: Final = 18 << 3


@dataclass(frozen=True, slots=True)
class Key:
    """An Ed25519 key of an operator, an account or a user."""

    kind: Kind
    private: Ed25519PrivateKey

    @classmethod
    def generate(cls, kind: Kind) -> "Key":
        """Return a fresh key."""
        return cls(kind, Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, text: str) -> "Key":
        """Return the key that *text* (``SU…``) holds, or raise `ValueError`."""
        raw = _decode(text.strip())
        prefix = ((raw[0] & 7) << 5) | (raw[1] >> 3)
        kinds = [kind for kind, value in _PREFIX.items() if value == prefix]
        if raw[0] & 0xF8 != _SEED or not kinds or len(raw) != 34:  # noqa: PLR2004
            raise ValueError("not the seed of an nkey")
        return cls(kinds[0], Ed25519PrivateKey.from_private_bytes(raw[2:]))

    @property
    def public(self) -> str:
        """The public key, ``U…``."""
        return _encode(bytes([_PREFIX[self.kind]]) + self.private.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        """The private key, ``SU…``: a secret."""
        prefix = _PREFIX[self.kind]
        head = bytes([_SEED | (prefix >> 5), (prefix & 31) << 3])
        return _encode(head + self.private.private_bytes_raw())

    def sign(self, data: bytes) -> bytes:
        """Return the 64 bytes of the signature."""
        return self.private.sign(data)


def public_raw(public: str) -> bytes:
    """Return the 32 raw bytes of a public key, or raise `ValueError`."""
    raw = _decode(public)
    if len(raw) != 33:  # noqa: PLR2004
        raise ValueError("not a public nkey")
    return raw[1:]


def verify(public: str, data: bytes, signature: bytes) -> bool:
    """Whether *signature* over *data* is of the key *public*."""
    try:
        Ed25519PublicKey.from_public_bytes(public_raw(public)).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def _encode(raw: bytes) -> str:
    raw += binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error as error:
        raise ValueError("not an nkey") from error
    if len(raw) < 3 or binascii.crc_hqx(raw[:-2], 0) != int.from_bytes(raw[-2:], "little"):  # noqa: PLR2004
        raise ValueError("not an nkey: wrong checksum")
    if _encode(raw[:-2]) != text:  # bits behind the last byte: two texts must not be one key
        raise ValueError("not an nkey: not as it is written")
    return raw[:-2]
