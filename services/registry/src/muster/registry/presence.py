"""Who is there: pure rules over connections and heartbeats, without a clock of their own.

A connection that the broker shows is the truth: while one is open the node is online, and when
the last one closes it is offline at once. Nodes whose connections cannot be seen (behind a
bridge) are online as long as their heartbeats come.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

Connection = tuple[str, int]
"""A server's id and the client id that it gave."""

NEVER: Final = float("-inf")
_REMEMBERED: Final = 20_000


class Change(NamedTuple):
    """Somebody came or went."""

    key: str
    online: bool
    reason: str


@dataclass(slots=True)
class _Seen:
    online: bool = False
    open: dict[Connection, int] = field(default_factory=dict)
    """Connections, and at which tick they were told of."""
    visible: bool = False
    """The broker has shown a connection of it: heartbeats alone prove nothing any more."""
    beat: float = NEVER
    twice: float | None = None
    """Since when there has been more than one connection."""
    cloned: bool = False


class Presence:
    """What is believed of every key."""

    def __init__(self, silence: float) -> None:
        """Nodes that cannot be seen are offline after *silence* seconds without a heartbeat."""
        self._silence = silence
        self._seen: dict[str, _Seen] = {}
        self._closed: dict[Connection, None] = {}
        """The last ones that have closed: whatever says later that they are open is older."""
        self._ticks = 0

    def online(self, key: str) -> bool:
        """Whether *key* is there."""
        return key in self._seen and self._seen[key].online

    def connected(self, key: str, connection: Connection) -> list[Change]:
        """Take that a connection has been opened."""
        seen = self._seen.setdefault(key, _Seen())
        seen.visible = True
        if connection in self._closed:
            return []
        self._ticks += 1
        seen.open[connection] = self._ticks
        return self._turn(key, seen, online=True)

    def disconnected(self, key: str, connection: Connection, reason: str) -> list[Change]:
        """Take that a connection has been closed."""
        seen = self._seen.setdefault(key, _Seen())
        seen.open.pop(connection, None)
        self._closed[connection] = None
        if len(self._closed) > _REMEMBERED:
            del self._closed[next(iter(self._closed))]
        return [] if seen.open else self._turn(key, seen, online=False, reason=reason)

    def heartbeat(self, key: str, now: float) -> list[Change]:
        """Take a sign of life; it may have waited in a buffer of a node that is gone."""
        seen = self._seen.setdefault(key, _Seen())
        seen.beat = now
        return [] if seen.visible else self._turn(key, seen, online=True)

    def now(self) -> int:
        """Return the tick at which the reading of a list begins, for `reconcile`."""
        return self._ticks

    def reconcile(self, live: Iterable[tuple[str, Connection]], since: int) -> list[Change]:
        """Take the broker's whole list of open connections, whose reading began at *since*.

        What was told while the list was being read is newer than the list.
        """
        open_now: dict[str, dict[Connection, int]] = {}
        for key, connection in live:
            if connection not in self._closed:
                open_now.setdefault(key, {})[connection] = since
        for key in open_now:
            self._seen.setdefault(key, _Seen()).visible = True
        changes: list[Change] = []
        for key, seen in self._seen.items():
            newer = {one: tick for one, tick in seen.open.items() if tick > since}
            seen.open = open_now.get(key, {}) | newer
            if seen.visible:
                there = bool(seen.open)
                reason = "" if there else "no connection"
                changes += self._turn(key, seen, online=there, reason=reason)
        return changes

    def silent(self, now: float) -> list[Change]:
        """Return who has been silent for too long and cannot be seen."""
        late = now - self._silence
        return [
            change
            for key, seen in self._seen.items()
            if not seen.visible and seen.online and seen.beat < late
            for change in self._turn(key, seen, online=False, reason="no heartbeat")
        ]

    def doubled(self, now: float, patience: float) -> list[tuple[str, bool]]:
        """Return whose credentials are used twice at the same time from now on, or no longer.

        A connection that is dead may be open for a while after its successor: not before
        *patience* seconds is it two that live.
        """
        changes = []
        for key, seen in self._seen.items():
            if len(seen.open) < 2:  # noqa: PLR2004
                seen.twice = None
            elif seen.twice is None:
                seen.twice = now
            cloned = seen.twice is not None and now - seen.twice >= patience
            if cloned != seen.cloned:
                seen.cloned = cloned
                changes.append((key, cloned))
        return changes

    def forget(self, key: str) -> None:
        """Drop a key that will never come back."""
        self._seen.pop(key, None)

    def _turn(self, key: str, seen: _Seen, *, online: bool, reason: str = "") -> list[Change]:
        if seen.online == online:
            return []
        seen.online = online
        return [Change(key, online, reason)]
