"""Brings signed commands to the agents, over core NATS, until each is confirmed.

The broker itself says when nobody listens on a node's subject (503): then the node is away and
its target is queued until the agent comes and asks. A command that was sent but not confirmed
is sent again; the agent's journal makes that harmless.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from muster.kit.bus import Bus, Raw

log = logging.getLogger(__name__)

_SLOWEST: Final = 60.0

Pair = tuple[str, str]
"""A run and a node."""


@dataclass(slots=True)
class _Sent:
    payload: bytes
    due: float
    delay: float


class Dispatcher:
    """What has been sent and not been confirmed."""

    def __init__(self, bus: Bus, resend_after: float) -> None:
        """Send over *bus*; again after *resend_after* seconds."""
        self._bus = bus
        self._resend_after = resend_after
        self._waiting: dict[Pair, _Sent] = {}
        self.away: set[Pair] = set()
        """Targets whose node is not there; whoever writes them down takes them out."""
        self.news = asyncio.Event()
        """Set when `away` has grown."""

    @property
    def replies(self) -> str:
        """The subject on which the broker says that nobody listens."""
        return f"{self._bus.inbox}.cmd.*.*"

    def waits_for(self, pair: Pair) -> bool:
        """Whether *pair* has been sent and not been confirmed."""
        return pair in self._waiting

    async def send(self, run: str, node: str, verb: str, payload: bytes) -> None:
        """Send a command once, without waiting for anything."""
        reply = f"{self._bus.inbox}.cmd.{run}.{node}" if verb == "run" else ""
        await self._bus.send(f"muster.cmd.{node}.{verb}", payload, reply=reply)

    async def begin(self, commands: Iterable[tuple[str, str, bytes]]) -> None:
        """Send commands ``(run, node, payload)`` and keep at it until each is confirmed."""
        now = asyncio.get_running_loop().time()
        for run, node, payload in commands:
            delay = self._resend_after
            self._waiting[run, node] = _Sent(payload, now + delay, delay)
            await self.send(run, node, "run", payload)

    def confirmed(self, pair: Pair) -> None:
        """Stop sending: the agent has it, or nobody needs it any more."""
        self._waiting.pop(pair, None)
        self.away.discard(pair)

    async def heard(self, message: Raw) -> None:
        """Take the broker's word that a node is away."""
        if not message.nobody:
            return
        pair = (message.subject.split(".")[-2], message.subject.split(".")[-1])
        if self._waiting.pop(pair, None) is not None:
            self.away.add(pair)
            self.news.set()

    async def resend(self) -> None:
        """Send again what is due."""
        now = asyncio.get_running_loop().time()
        for (run, node), sent in list(self._waiting.items()):
            if sent.due <= now:
                sent.delay = min(sent.delay * 2, _SLOWEST)
                sent.due = now + sent.delay
                log.info("%s to %s is sent again", run, node, extra={"action": "resend"})
                await self.send(run, node, "run", sent.payload)
