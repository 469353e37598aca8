"""Run the gateway: ``python -m muster.gateway``."""

import asyncio

from muster.gateway.app import gateway
from muster.gateway.server import listening
from muster.gateway.settings import Settings
from muster.kit.service import connection, main_of


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until *stop* is set."""
    async with (
        connection("gateway", settings) as bus,
        gateway(bus, settings) as app,
        listening(app, settings),
    ):
        await stop.wait()


def main() -> None:
    """Serve until the process is told to end."""
    main_of("gateway", Settings, serve)


if __name__ == "__main__":
    main()
