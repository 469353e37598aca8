"""Slows failed logins down: per name and address, so that a stranger locks nobody out."""

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

    def check(self, name: str, address: str) -> None:
        """Raise `TooMany` while this name must wait at this address."""
        count, last = self._failed.get((name, address), (0, 0.0))
        if count <= _FREE:
            return
        wait = last + min(_LONGEST, 2.0 ** (count - _FREE)) - self._clock()
        if wait > 0:
            raise TooMany(f"too many failed logins: wait {wait:.0f} seconds")

    def failed(self, name: str, address: str) -> None:
        """Count a failure."""
        now = self._clock()
        if len(self._failed) > _MOST:
            self._failed = {k: v for k, v in self._failed.items() if v[1] > now - _FORGET}
        count, last = self._failed.get((name, address), (0, now))
        self._failed[name, address] = (1 if now - last > _FORGET else count + 1, now)

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures."""
        self._failed.pop((name, address), None)
