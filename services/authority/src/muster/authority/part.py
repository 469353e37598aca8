"""What every part of the authority works with."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from muster.authority.settings import Settings
from muster.contracts.people import RIGHTS_CHANGED, RightsChanged
from muster.kit.bus import Bus, Caller
from muster.kit.identity.world import World
from muster.kit.sql import Database

SERVER: Final = "@server"
"""Who does, in the audit, what nobody has asked for."""


CONSOLE: Final = "@console"
"""Who does, in the audit, what is done on the server itself."""


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

    async def tell(self, change: RightsChanged | None) -> None:
        """Tell all services that rights have changed; whoever misses it asks."""
        if change is not None:
            await self.tools.bus.tell(RIGHTS_CHANGED, change)


def address_of(caller: Caller) -> str:
    """Return where the caller's request came from, for the audit."""
    return caller.ticket.origin.address if caller.ticket else ""


def new_secret(kind: str) -> str:
    """Return 256 random bits, with a prefix that scanners for leaked secrets can find."""
    return f"{kind}_{secrets.token_urlsafe(32)}"


def digest(secret: str) -> str:
    """Return what is kept of a secret: its SHA-256 (it has 256 bits, so no salt is needed)."""
    return hashlib.sha256(secret.encode()).hexdigest()
