"""The server's certificate while the server runs: renewed in time, and shown when it is another.

Nobody has to restart anything: the gateway looks at its file by itself, and the broker is told.
"""

import asyncio
import logging
import signal
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from muster.cli.server.children import Child
from muster.cli.server.layout import Layout
from muster.cli.server.settings import ServerSettings
from muster.cli.server.world import write_config
from muster.contracts.errors import MusterError
from muster.kit.identity.authorities import Authorities

if TYPE_CHECKING:
    from muster.cli.server.home import Where

log = logging.getLogger(__name__)

_LOOK: Final = 2.0
_RENEW: Final = 3600.0


async def keep(layout: Layout, options: ServerSettings, where: "Where", broker: Child) -> None:
    """Renew the certificate a month before its end; tell the broker whenever it is another."""
    authorities = Authorities(layout.tls)
    seen = authorities.server.stat()
    due = time.monotonic() + _RENEW
    while True:
        await asyncio.sleep(_LOOK)
        try:
            if time.monotonic() >= due:
                due = time.monotonic() + _RENEW
                await asyncio.to_thread(authorities.renew, datetime.now(UTC))
            found = authorities.server.stat()
            if (found.st_ino, found.st_mtime_ns) == (seen.st_ino, seen.st_mtime_ns):
                continue
            await asyncio.to_thread(write_config, layout, options, where)
            broker.tell(signal.SIGHUP)
            seen = found
            log.info("the broker shows another certificate", extra={"action": "certificate"})
        except (MusterError, OSError, ValueError) as error:
            log.warning("the server's certificate could not be looked after: %s", error)
