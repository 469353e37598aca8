"""Slows failed logins down: per name and address, so that a stranger locks nobody out."""

import math
import time
from collections.abc import Callable
from typing import Final

from muster.contracts.errors import TooMany

_FREE: Final = 4
_LONGEST: Final = 60.0
_FORGET: Final = 3600.0
_MOST: Final = 100_000


class Slowing:
    """Counts failures; in memory, because a restart costs an attacker more than it gives."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Measure time with *clock*."""
        self._clock = clock
        self._failed: dict[tuple[str, str], tuple[int, float]] = {}

    def attempt(self, name: str, address: str) -> None:
        """Count an attempt, or raise `TooMany` while this name must wait at this address.

        It counts as failed until `succeeded` says otherwise: who tries many passwords at the
        same time must not have them all checked before the first one is known to be wrong.
        """
        now = self._clock()
        count, last = self._failed.get((name, address), (0, now))
        if now - last > _FORGET:
            count = 0
        wait = last + min(_LONGEST, 2.0 ** (count - _FREE)) - now if count > _FREE else 0.0
        if wait > 0:
            raise TooMany(f"too many failed logins: wait {math.ceil(wait)} seconds")
        if len(self._failed) > _MOST:
            self._failed = {k: v for k, v in self._failed.items() if v[1] > now - _FORGET}
        self._failed[name, address] = (count + 1, now)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures."""
        self._failed.pop((name, address), None)
