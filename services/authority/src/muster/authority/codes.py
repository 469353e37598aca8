"""One-time codes: which are genuine, and what they are called."""

import hmac
import secrets
from datetime import datetime
from typing import Final

import pyotp

STEP: Final = 30
"""Seconds for which a code is shown."""

_DRIFT: Final = 1
"""Steps that the app's clock may be off, either way."""

RECOVERY: Final = 10
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"


def new_secret() -> str:
    """Return 160 random bits, as an authenticator app takes them."""
    return pyotp.random_base32()


def uri(secret: str, name: str) -> str:
    """Return what the QR code says."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="Muster")


def step_of(secret: str, code: str, now: datetime, after: int) -> int | None:
    """Return the time step of a genuine *code* that is newer than step *after*, or None.

    A code is good once: the same one, or an older one, is not taken again (RFC 6238, 5.2).
    """
    current = int(now.timestamp()) // STEP
    totp = pyotp.TOTP(secret)
    for step in range(current - _DRIFT, current + _DRIFT + 1):
        genuine = totp.generate_otp(step)
        if hmac.compare_digest(genuine, code.encode("ascii", "replace").decode()) and step > after:
            return step
    return None


def bare(code: str) -> str:
    """Return a code without what people type for legibility."""
    return "".join(code.split()).replace("-", "").lower()


def recovery() -> list[str]:
    """Return fresh recovery codes: 79 bits each."""
    return [
        "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(4))
        for _ in range(RECOVERY)
    ]
