"""Run the gateway: ``python -m muster.gateway``."""

import asyncio
from contextlib import AsyncExitStack

from muster.contracts.errors import Unavailable
from muster.gateway.app import gateway
from muster.gateway.server import listening
from muster.gateway.settings import Settings
from muster.kit.health import Health
from muster.kit.service import connection, main_of


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until *stop* is set."""
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(connection("gateway", settings))

        async def check() -> None:
            if not bus.connected:
                raise Unavailable("no connection to the broker")

        app = await stack.enter_async_context(gateway(bus, settings))
        await stack.enter_async_context(listening(app, settings))
        if settings.health_port:
            health = Health()
            health.check("bus", check)
            await stack.enter_async_context(health.serving(settings.health_port))
        await stop.wait()


def main() -> None:
    """Serve until the process is told to end."""
    main_of("gateway", Settings, serve)


if __name__ == "__main__":
    main()
