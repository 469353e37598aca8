"""Lines of the log that somebody else could make many of."""

import logging
import time
from typing import Final

log = logging.getLogger(__name__)

_QUIET: Final = 10.0


class Noise:
    """Logs what is not worth an answer, at most a line in ten seconds."""

    def __init__(self) -> None:
        """Begin quietly."""
        self._swallowed = 0
        self._next = 0.0

    def make(self, what: str, error: object) -> None:
        """Tell of a message that was dropped, or count it."""
        now = time.monotonic()
        if now < self._next:
            self._swallowed += 1
            return
        log.warning("%s: dropped: %s (and %d before)", what, error, self._swallowed)
        self._next, self._swallowed = now + _QUIET, 0
