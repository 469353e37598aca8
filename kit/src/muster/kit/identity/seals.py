"""Seals: a signature of the authority over some text, with the id of its key.

base64url of ``key id (8) | Ed25519 signature (64)``.
"""

import base64
import binascii
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from muster.kit.identity.envelope import key_id


def seal(text: bytes, key: Ed25519PrivateKey) -> str:
    """Return the seal of *key* on *text*."""
    name = key_id(key.public_key().public_bytes_raw())
    return base64.urlsafe_b64encode(name + key.sign(text)).decode()


def is_sealed(text: bytes, given: str, keys: Sequence[bytes]) -> bool:
    """Whether *given* is the seal of one of *keys* (raw public keys) on *text*."""
    try:
        blob = base64.b64decode(given, altchars=b"-_", validate=True)
        public = {key_id(key): key for key in keys}[blob[:8]]
        Ed25519PublicKey.from_public_bytes(public).verify(blob[8:], text)
    except (binascii.Error, ValueError, KeyError, InvalidSignature):
        return False
    return True
