"""What a caller may see: the targets on nodes whose runs they may read, and nothing else."""

import time
from collections.abc import Collection
from typing import Final

from muster.contracts.errors import NotFound
from muster.contracts.nodes import REACH, AskReach
from muster.contracts.runs import RUN_EVENTS
from muster.kit.bus import Bus, Caller

_GOOD_FOR: Final = 1.0
_REMEMBERED: Final = 256

Seen = Collection[str] | None
"""Node ids; None: all nodes."""


class Seeing:
    """Asks the registry for whoever may not see everything, and remembers it for a moment."""

    def __init__(self, bus: Bus) -> None:
        """Ask over *bus*."""
        self._bus = bus
        self._known: dict[str, tuple[float, Seen]] = {}

    async def by(self, caller: Caller) -> Seen:
        """Return the nodes whose runs *caller* may read."""
        action = RUN_EVENTS.needs
        if caller.reach(action).everywhere:
            return None
        until, seen = self._known.get(caller.token, (0.0, None))
        if until > time.monotonic():
            return seen
        told = await self._bus.ask(REACH, AskReach(action=action), ticket=caller.token)
        seen = None if told.everywhere else frozenset(told.nodes)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[caller.token] = (time.monotonic() + _GOOD_FOR, seen)
        return seen

    async def target(self, caller: Caller, run: str, node: str) -> None:
        """Raise `NotFound` if the caller may not see what *run* does on *node*."""
        seen = await self.by(caller)
        if seen is not None and node not in seen:
            raise NotFound(f"run {run} has no target {node}")
