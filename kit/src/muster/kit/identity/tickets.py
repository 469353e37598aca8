"""Tickets: who is asking, signed by the authority, verified offline by every service.

base64url of ``T1 | key id (8) | Ed25519 signature (64) | ticket JSON``, in a header.
"""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from muster.contracts.authority import Ticket
from muster.contracts.errors import MusterError, Unauthenticated
from muster.kit import wire
from muster.kit.identity.envelope import key_id

MAGIC: Final = b"T1"
_HEAD: Final = 2 + 8 + 64


def sign(ticket: Ticket, key: Ed25519PrivateKey) -> str:
    """Return *ticket* as it travels."""
    body = wire.pack(ticket)
    name = key_id(key.public_key().public_bytes_raw())
    return base64.urlsafe_b64encode(MAGIC + name + key.sign(body) + body).decode()


def verify(token: str, keys: Sequence[bytes], now: datetime) -> Ticket:
    """Return what a genuine, unexpired ticket says, or raise `Unauthenticated`."""
    try:
        blob = base64.b64decode(token, altchars=b"-_", validate=True)
        public = {MAGIC + key_id(key): key for key in keys}[blob[:10]]
        Ed25519PublicKey.from_public_bytes(public).verify(blob[10:_HEAD], blob[_HEAD:])
        ticket = wire.unpack(Ticket, blob[_HEAD:])
    except (binascii.Error, ValueError, KeyError, InvalidSignature, MusterError) as error:
        raise Unauthenticated("the ticket is not genuine: log in again") from error
    if ticket.expires <= now:
        raise Unauthenticated("the ticket has expired: log in again")
    return ticket
