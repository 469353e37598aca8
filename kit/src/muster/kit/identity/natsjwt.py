"""NATS JWTs, version 2: what operators, accounts and users may do, signed by who is above them.

Source: github.com/nats-io/jwt; the signature covers ``header.payload``.
"""

import base64
import hashlib
import json
import time
from typing import Any, Final

from muster.kit.identity.nkeys import Key, verify

UNLIMITED: Final = {
    **dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn"), -1),
    "wildcards": True,
    "leaf": 0,
}
"""The limits of an account: none, but no leaf nodes; without a word of JetStream there is none."""

_HEADER: Final = {"typ": "JWT", "alg": "ed25519-nkey"}


def encode(
    kind: str, subject: str, name: str, nats: dict[str, Any], issuer: Key, **claims: Any
) -> str:
    """Return a JWT of *kind* (operator, account, user) about the public key *subject*."""
    body = {
        "iat": int(time.time()),
        "iss": issuer.public,
        "name": name,
        "sub": subject,
        "nats": {**nats, "type": kind, "version": 2},
        **claims,
    }
    digest = hashlib.new("sha512_256", _json(body)).digest()
    body["jti"] = base64.b32encode(digest).decode().rstrip("=")
    signed = f"{_base64(_json(_HEADER))}.{_base64(_json(body))}"
    return f"{signed}.{_base64(issuer.sign(signed.encode()))}"


def claims(token: str, *, check: bool = True) -> dict[str, Any]:
    """Return what *token* says, or raise `ValueError`; *check* verifies its issuer's signature."""
    try:
        header, payload, signature = token.split(".")
        found: dict[str, Any] = json.loads(_bytes(payload))
        genuine = not check or verify(
            found["iss"], f"{header}.{payload}".encode(), _bytes(signature)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("not a NATS JWT") from error
    if not genuine:
        raise ValueError("the signature of the JWT is wrong")
    return found


def creds_text(token: str, seed: str) -> str:
    """Return the content of a ``.creds`` file."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


def text64(raw: bytes) -> str:
    """Return *raw* in standard base64, as our key files hold it."""
    return base64.b64encode(raw).decode()


def bytes64(text: str) -> bytes:
    """Return the bytes that standard base64 *text* holds, or raise `ValueError`."""
    return base64.b64decode(text.strip(), validate=True)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
