"""Whom the agent takes for its server, and how it hears of another CA when it is too late.

A node that was away while the CA was replaced finds a broker that it cannot believe. The gateway
tells everybody what the authority has sealed about it; it is asked without trust, because nothing
but the seal of a key that this node has pinned makes it believe another CA.
"""

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable
from typing import Final

from muster.agent.agent import Self
from muster.contracts.certificates import CaNews
from muster.contracts.errors import MusterError

log = logging.getLogger(__name__)

ADVICE: Final = (
    "somebody may be in between; if the CA was replaced while this node was away: `muster-agent "
    "leave`, join again, and install it again if it was installed"
)
_OFTEN: Final = (60.0, 120.0)
_LONGEST: Final = 60.0


class Trusting:
    """The CAs of the node, as they are at the moment."""

    def __init__(self, me: Self, now: Callable[[], float] = time.monotonic) -> None:
        """Believe as *me* says."""
        self._me = me
        self._now = now
        self._next = 0.0

    def context(self) -> ssl.SSLContext | None:
        """Return whom to believe at this attempt; None on a broker without TLS."""
        return self._me.identity.tls

    async def failed(self, error: Exception) -> None:
        """Hear whether there is another CA, if the broker could not be believed."""
        if not isinstance(error, ssl.SSLCertVerificationError) or self._now() < self._next:
            return
        self._next = self._now() + random.uniform(*_OFTEN)  # noqa: S311
        try:
            async with asyncio.timeout(_LONGEST):
                news = await asyncio.to_thread(_ask, self._me.identity.server)
        except (MusterError, TimeoutError) as trouble:
            log.warning("%s (%s): %s", error.verify_message, trouble, ADVICE)
            return
        fresh = self._me.identity.heard(news)
        if fresh.ca == self._me.identity.ca:
            log.warning(
                "%s, and the server has no notice of another CA that this node could believe: %s",
                error.verify_message,
                ADVICE,
            )
            return
        self._me.become(fresh)
        log.info("the server has another CA, and it is vouched for", extra={"action": "ca"})


def _ask(server: str) -> CaNews:
    from muster.agent.joining import news_of  # noqa: PLC0415  # seldom needed

    return news_of(server)
