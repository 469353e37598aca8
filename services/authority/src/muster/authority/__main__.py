"""Run the authority: ``python -m muster.authority``."""

import asyncio

from muster.authority import __version__
from muster.authority.part import Tools
from muster.authority.service import Authority
from muster.authority.settings import Settings
from muster.kit.identity.world import World
from muster.kit.outbox import relaying
from muster.kit.service import connection, main_of, service_root
from muster.kit.tasks import running


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until *stop* is set."""
    system_creds = settings.data_dir / "creds" / "authority-sys.creds"
    async with (
        service_root("authority", settings) as root,
        connection("authority-sys", settings, system_creds) as system,
    ):
        tools = Tools(World.open(settings.keys_dir), root.db, root.bus, system, settings)
        authority = Authority(tools)
        await authority.prepare()
        async with (
            relaying(root.db, root.bus),
            running(authority.forever(), "authority"),
            root.bus.serving(authority, name="authority", version=__version__),
        ):
            root.ready()
            await stop.wait()


def main() -> None:
    """Serve until the process is told to end."""
    main_of("authority", Settings, serve)


if __name__ == "__main__":
    main()
