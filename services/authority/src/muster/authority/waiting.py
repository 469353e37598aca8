"""What waits for somebody to come back: in memory, for some minutes, and good once."""

from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from muster.authority.part import digest

MOST: Final = 10_000

T = TypeVar("T")


class Waiting(Generic[T]):
    """Things by secrets, of which only the SHA-256 is kept.

    Strangers can push out what others have begun, but not keep them from beginning. In memory: a
    restart ends what was begun, and whoever began it begins again.
    """

    def __init__(self, lives: timedelta, most: int = MOST) -> None:
        """Keep each thing for as long as it *lives*, and no more than *most* of them."""
        self.lives = lives
        self._most = most
        self._kept: dict[str, tuple[datetime, T]] = {}

    def put(self, secret: str, thing: T, now: datetime) -> datetime:
        """Keep *thing*; returns until when."""
        expires = now + self.lives
        while len(self._kept) >= self._most:  # all live as long, so the first is the oldest
            del self._kept[next(iter(self._kept))]
        self._kept[digest(secret)] = (expires, thing)
        return expires

    def take(self, secret: str, now: datetime) -> T | None:
        """Return the thing of *secret*, and forget it: there is no second time."""
        expires, thing = self._kept.pop(digest(secret), (now, None))
        return thing if expires > now else None
