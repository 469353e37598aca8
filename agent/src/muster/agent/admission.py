"""Not knocking too often at a server that does not let us in.

A network that is down is tried every few seconds, so that the node is back at once. A server that
answers and refuses (the node was revoked, its credentials have expired) is tried rarer and rarer.
The bus asks for credentials once the server has answered: being asked again and again means
being refused.
"""

import time
from collections.abc import Callable
from typing import Final

from muster.kit.client import Credentials

QUICK: Final = 12
"""Refusals until we slow down."""
SLOWEST: Final = 300.0
_ONE_TRY: Final = 0.05
"""Within one try the bus asks more than once."""


class Admission:
    """Hands out credentials, but not at any time."""

    def __init__(
        self, who: Callable[[], Credentials], now: Callable[[], float] = time.monotonic
    ) -> None:
        """Hand out what *who* returns at that moment."""
        self._who = who
        self._now = now
        self.admitted()

    def admitted(self) -> None:
        """Forget the refusals: the server has let us in."""
        self._tries = 0
        self._asked = self._next = float("-inf")

    def credentials(self) -> Credentials:
        """Return the credentials, or raise `ConnectionRefusedError` if it is too early."""
        now = self._now()
        if now - self._asked > _ONE_TRY:
            if now < self._next:
                raise ConnectionRefusedError("the server does not admit this node; waiting")
            self._asked = now
            self._tries += 1
            if self._tries >= QUICK:
                self._next = now + min(SLOWEST, 5.0 * 2 ** (self._tries - QUICK))
        return self._who()
