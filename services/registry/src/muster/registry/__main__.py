"""Run the registry: ``python -m muster.registry``."""

import asyncio

from muster.contracts.nodes import HEARTBEAT, NODE_JOINED, NODE_REVOKED
from muster.kit.service import connection, main_of, service_root
from muster.kit.tasks import running
from muster.registry import __version__
from muster.registry.service import Registry
from muster.registry.settings import Settings
from muster.registry.watching import Watch, account_of


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until *stop* is set."""
    creds = settings.data_dir / "creds" / "registry-sys.creds"
    async with (
        service_root("registry", settings) as root,
        connection("registry-sys", settings, creds) as system,
    ):
        registry = Registry(root.bus, root.db, settings)
        await registry.load()
        watch = Watch(
            system, account_of(settings.creds_of("registry")), registry.presence,
            registry.turned, settings.settling,
        )  # fmt: skip
        came, went = watch.subjects
        async with (
            system.hearing(came, watch.connected),
            system.hearing(went, watch.disconnected),
            root.bus.hearing(HEARTBEAT.everything, registry.heard),
            root.bus.serving(registry, name="registry", version=__version__),
            root.bus.consuming(NODE_JOINED, registry.joined, durable="registry_joined"),
            root.bus.consuming(NODE_REVOKED, registry.revoked, durable="registry_revoked"),
            running(registry.beats.keep_forever(), "keeping metrics"),
        ):
            await watch.reconcile()
            registry.settle()
            async with (
                running(watch.reconcile_forever(), "reconciling"),
                running(registry.tell_forever(), "telling"),
            ):
                root.ready()
                await stop.wait()
            await registry.beats.flush()


def main() -> None:
    """Serve until the process is told to end."""
    main_of("registry", Settings, serve)


if __name__ == "__main__":
    main()
