"""Run the registry: ``python -m muster.registry``."""

import asyncio

from muster.kit.service import connection, main_of, service_root
from muster.registry import __version__
from muster.registry.service import Registry
from muster.registry.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until *stop* is set."""
    creds = settings.data_dir / "creds" / "registry-sys.creds"
    async with (
        service_root("registry", settings) as root,
        connection("registry-sys", settings, creds) as system,
    ):
        registry = Registry(root.bus, root.db, settings)
        await registry.load()
        async with (
            root.bus.serving(registry, name="registry", version=__version__),
            registry.living(system),
        ):
            root.ready()
            await stop.wait()


def main() -> None:
    """Serve until the process is told to end."""
    main_of("registry", Settings, serve)


if __name__ == "__main__":
    main()
