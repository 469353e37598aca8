"""What every part of the authority works with."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from muster.authority.settings import Settings
from muster.kit.bus import Bus
from muster.kit.identity.world import World
from muster.kit.sql import Database


def utc_now() -> datetime:
    """Return the wall clock; tests pass another."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Tools:
    """Keys, storage, bus and clock."""

    world: World
    db: Database
    bus: Bus
    system: Bus
    """The connection that may push revocations."""
    settings: Settings
    now: Callable[[], datetime] = utc_now


class Part:
    """A part of the authority."""

    def __init__(self, tools: Tools) -> None:
        """Work with *tools*."""
        self.tools = tools


def new_secret(kind: str) -> str:
    """Return 256 random bits, with a prefix that scanners for leaked secrets can find."""
    return f"{kind}_{secrets.token_urlsafe(32)}"


def digest(secret: str) -> str:
    """Return what is kept of a secret: its SHA-256 (it has 256 bits, so no salt is needed)."""
    return hashlib.sha256(secret.encode()).hexdigest()
