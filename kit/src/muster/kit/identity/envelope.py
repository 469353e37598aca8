"""Signed commands: the only thing that an agent obeys.

``M1 | key id (8) | Ed25519 signature (64) | length (2, big-endian) | envelope JSON | arguments``.
The signature covers length and envelope; the envelope binds the arguments by their SHA-256.
Nothing is parsed before the signature has been verified, over the bytes as they came.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from muster.contracts.errors import Denied, Malformed
from muster.contracts.names import new_id
from muster.contracts.runs import Envelope
from muster.kit import wire

MAGIC: Final = b"M1"
_HEAD: Final = 2 + 8 + 64
_LENGTH: Final = 2


def key_id(public: bytes) -> bytes:
    """Return the 8 bytes that name a raw public key."""
    return hashlib.sha256(public).digest()[:8]


def sign(envelope: Envelope, key: Ed25519PrivateKey) -> bytes:
    """Return the signed blob of one envelope, without arguments."""
    return _seal(wire.pack(envelope), key, key_id(key.public_key().public_bytes_raw()))


def sign_many(envelope: Envelope, nodes: Iterable[str], key: Ed25519PrivateKey) -> list[bytes]:
    """Return a signed blob of *envelope* for each of *nodes*, each with an id of its own."""
    name = key_id(key.public_key().public_bytes_raw())
    body = json.loads(wire.pack(envelope))
    blobs = []
    for node in nodes:
        body |= {"id": new_id(), "node": node}
        blobs.append(_seal(json.dumps(body, separators=(",", ":")).encode(), key, name))
    return blobs


def _seal(body: bytes, key: Ed25519PrivateKey, name: bytes) -> bytes:
    signed = len(body).to_bytes(_LENGTH, "big") + body
    return MAGIC + name + key.sign(signed) + signed


def open_command(blob: bytes, keys: Sequence[bytes]) -> tuple[Envelope, bytes]:
    """Return envelope and arguments of a genuine command.

    *keys* are the raw public keys that may sign. Raises `Denied` if none of them has signed, and
    `Malformed` if what was signed, or the arguments behind it, do not fit.
    """
    known = {key_id(key): key for key in keys}
    public = known.get(blob[2:10])
    if blob[:2] != MAGIC or len(blob) < _HEAD + _LENGTH or public is None:
        raise Denied("not a command of this server's authority")
    end = _HEAD + _LENGTH + int.from_bytes(blob[_HEAD : _HEAD + _LENGTH], "big")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(blob[10:_HEAD], blob[_HEAD:end])
    except InvalidSignature as error:
        raise Denied("the signature of the command is wrong") from error
    envelope = wire.unpack(Envelope, blob[_HEAD + _LENGTH : end])
    args = blob[end:]
    if hashlib.sha256(args).hexdigest() != envelope.digest:
        raise Malformed("the arguments are not the ones that were signed")
    return envelope, args


def expired(envelope: Envelope, now: datetime) -> bool:
    """Whether it is too late to begin."""
    return envelope.expires <= now
