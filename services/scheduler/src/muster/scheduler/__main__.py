"""Run the scheduler: ``python -m muster.scheduler``."""

import asyncio

from muster.contracts.approvals import APPROVAL_DECIDED
from muster.contracts.nodes import NODE_REVOKED
from muster.kit.outbox import relaying
from muster.kit.service import main_of, service_root
from muster.kit.tasks import running
from muster.scheduler import __version__
from muster.scheduler.service import Scheduler
from muster.scheduler.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until *stop* is set."""
    async with service_root("scheduler", settings) as root:
        scheduler = Scheduler(root.bus, root.db, settings)
        async with (
            relaying(root.db, root.bus),
            root.bus.hearing(scheduler.dispatcher.replies, scheduler.dispatcher.heard),
            running(scheduler.keeper.fold_forever(), "folding"),
            root.bus.serving(scheduler, name="scheduler", version=__version__),
            running(scheduler.keeper.tick_forever(), "ticking"),
            running(scheduler.rechecking.forever(), "rechecking"),
            root.bus.consuming(NODE_REVOKED, scheduler.node_revoked, durable="scheduler_revoked"),
            root.bus.consuming(APPROVAL_DECIDED, scheduler.decided, durable="scheduler_approvals"),
        ):
            await scheduler.resume()
            root.ready()
            await stop.wait()


def main() -> None:
    """Serve until the process is told to end."""
    main_of("scheduler", Settings, serve)


if __name__ == "__main__":
    main()
