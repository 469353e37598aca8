"""Few enough at a time: a token bucket for each address that comes without a login."""

import time
from collections.abc import Callable
from typing import Final

from muster.contracts.errors import TooMany

_MOST: Final = 10_000
"""Addresses remembered; when there are more, the oldest are forgotten."""


class Limiter:
    """Admits so many a minute from one address, in bursts up to the same number."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Admit *per_minute* from each address."""
        self._burst = float(per_minute)
        self._rate = per_minute / 60
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def admit(self, address: str) -> None:
        """Count one from *address*, or raise `TooMany`."""
        now = self._clock()
        left, since = self._left.pop(address, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        admitted = left >= 1
        self._left[address] = (left - 1 if admitted else left, now)
        if len(self._left) > _MOST:
            del self._left[next(iter(self._left))]
        if not admitted:
            raise TooMany("too many attempts from this address: wait a minute and try again")
