"""Nodes that only answer: one connection that plays a thousand agents without executing.

Run as a process of its own by `bench.simulated`: ``python -m bench.crowd <data dir> <url>``.
"""

import asyncio
import sys
from pathlib import Path

from muster.kit import bus
from muster.kit.bus import Raw
from muster.kit.client import Credentials
from muster.kit.identity import natsjwt
from muster.kit.identity.nkeys import Key
from muster.kit.identity.world import World


def everything(world: World) -> Credentials:
    """Return credentials that may play any node; only the server's own keys can make them."""
    key = Key.generate("U")
    limits = {"subs": -1, "data": -1, "payload": -1}
    return Credentials(natsjwt.encode("user", key.public, "crowd", limits, world.account), key)


async def main(data_dir: Path, url: str) -> None:
    """Answer every command at once as done."""
    creds = everything(World.open(data_dir / "keys"))
    async with bus.connect(url, name="crowd", creds=lambda: creds) as line:

        async def take(message: Raw) -> None:
            node = message.subject.split(".")[2]
            run = message.data.split(b'"run":"', 1)[1][:26].decode()
            body = f'{{"run":"{run}","command":"{run}","state":"done","exit":0}}'
            subject = f"muster.svc.scheduler.report.{node}"
            await line.client.publish(subject, body.encode(), reply=f"_INBOX_{node}.x")

        async with line.hearing("muster.cmd.*.run", take):
            print("ready", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
