"""Nodes that flood are shut out for a while: their credentials are revoked, and given back.

The broker cuts a connection whose key is revoked; that is the only brake that it has for one
client. It is kept in memory: after a restart of the authority a flood is found anew.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

log = logging.getLogger(__name__)

FIRST: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Suspension:
    """A node that is shut out until a time."""

    key: str
    """The node's public key."""
    since: datetime
    until: datetime
    number: int


class Suspensions:
    """Who is shut out at the moment; each time for twice as long."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._by_node: dict[str, Suspension] = {}

    def begin(self, node: str, key: str, now: datetime) -> Suspension | None:
        """Shut *node* out; None if it is already."""
        last = self._by_node.get(node)
        if last is not None and last.until > now:
            return None
        calm = last is None or now - last.until > LONGEST
        number = 1 if calm or last is None else last.number + 1
        until = now + min(LONGEST, FIRST * 2 ** (number - 1))
        self._by_node[node] = Suspension(key, now, until, number)
        return self._by_node[node]

    def keys(self, now: datetime) -> Mapping[str, datetime]:
        """Return the keys that are shut out *now*, and since when."""
        return {one.key: one.since for one in self._by_node.values() if one.until > now}

    def next_end(self, now: datetime) -> float | None:
        """Return the seconds until somebody is let in again."""
        ends = [one.until - now for one in self._by_node.values() if one.until > now]
        return min(ends).total_seconds() if ends else None
