"""How much one node may say: who shouts is not listened to, and the authority is told.

NATS has no limit on the rate of a client. A node that sends more than an honest one ever does is
ignored for the rest of the second; one that floods is reported, and the authority takes its
credentials away for a while, which is the only way to keep the flood off the broker's queues.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

log = logging.getLogger(__name__)

MOST: Final = 500
"""Messages of one node that a service takes in a second."""

FLOOD: Final = 3000
"""Messages of one node in a second that are no accident."""

_FORGET: Final = 20_000


@dataclass(slots=True)
class _Window:
    began: float
    count: int = 0


class Pace:
    """Counts, for each node, how often it has done something in a second."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Admit *most* times in a second."""
        self._most = most
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    def count(self, node: str) -> int:
        """Return how often it was in this second, this time included."""
        now = self._clock()
        window = self._windows.get(node)
        if window is None or now - window.began >= 1.0:
            if len(self._windows) > _FORGET:
                self._windows.clear()
            window = self._windows[node] = _Window(now)
        window.count += 1
        return window.count

    def admits(self, node: str) -> bool:
        """Count; whether *node* may do it now."""
        return self.count(node) <= self._most


class Flooding(Pace):
    """Counts what each node says to one service."""

    def __init__(
        self, flooded: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Call *flooded* with the node's id, once in each second in which it floods."""
        super().__init__(MOST, clock)
        self._flooded = flooded

    def admits(self, node: str) -> bool:
        """Count a message of *node*; whether it is to be looked at."""
        count = self.count(node)
        if count == FLOOD:
            log.warning("%s floods", node, extra={"action": "flood", "node": node})
            self._flooded(node)
        return count <= MOST

    def floods(self, node: str) -> bool:
        """Whether *node* has said so much in this second that it gets no answer either."""
        return self._windows[node].count >= FLOOD
