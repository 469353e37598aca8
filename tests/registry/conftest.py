"""The registry, composed as in production, on a real broker; nodes that say what a test wants."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from muster.contracts.errors import NotFound
from muster.contracts.names import new_id
from muster.contracts.nodes import (
    FIND_NODE,
    NODE_JOINED,
    NODE_REVOKED,
    FindNode,
    Heartbeat,
    Metrics,
    Node,
    NodeJoined,
    NodeRevoked,
    NodeState,
)
from muster.kit import wire
from muster.kit.bus import Bus
from muster.kit.client import Credentials
from muster.kit.durable import ensure_streams
from muster.kit.sql import Database, open_database
from muster.kit.testing import Broker
from muster.registry.service import Registry
from muster.registry.settings import Settings

METRICS = Metrics(cpu=12.5, cores=[12.5], memory_total=1000, memory_used=500)

CLIENT = """
import asyncio, sys
from pathlib import Path
from muster.kit import bus
async def main(url, name, creds):
    async with bus.connect(url, name=name, creds=Path(creds), slowest=0.3):
        await asyncio.sleep(600)
asyncio.run(main(*sys.argv[1:]))
"""


def beat(metrics: Metrics = METRICS, **more: Any) -> bytes:
    """Return a heartbeat as it travels."""
    return wire.pack(Heartbeat(at=datetime.now(UTC), version="1", metrics=metrics, **more))


def raw_beat(**changes: Any) -> bytes:
    """Return a heartbeat with fields that no model would let pass; a float may be ``1e999``."""
    body = json.loads(beat())
    for path, value in changes.items():
        place = body
        *way, last = path.split("__")
        for step in way:
            place = place[step]
        place[last] = value
    return json.dumps(body).encode()


@dataclass
class Stage:
    """The registry and a client of it."""

    broker: Broker
    client: Bus
    authority: Bus
    settings: Settings
    registry: Registry | None = None
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @asynccontextmanager
    async def playing(self) -> AsyncGenerator[Registry]:
        """Run the registry for the length of the block."""
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            url = self.settings.database_of("registry")
            db = await enter(open_database(url, migrations="muster.registry"))
            bus = await enter(self.broker.connect("registry"))
            await ensure_streams(bus.client)
            system = await enter(self.broker.connect("registry-sys"))
            registry = Registry(bus, db, self.settings)
            await registry.load()
            await enter(bus.serving(registry, name="registry", version="0.0.1"))
            await enter(registry.living(system))
            self.registry = registry
            yield registry

    async def join(self, hostname: str = "web", **wishes: Any) -> str:
        """Have the authority tell that a node has joined; waits until the registry knows it."""
        node, _ = self.broker.node()
        await self.tell_joined(node, hostname, **wishes)
        await self.until(node, lambda _: True)
        return node

    async def tell_joined(self, node: str, hostname: str = "web", **wishes: Any) -> None:
        """Have the authority tell that a node has joined."""
        public = Credentials.from_file(self.broker.creds(node)).key.public
        fact = NodeJoined(
            id=node, hostname=hostname, public_key=public, at=datetime.now(UTC), **wishes
        )
        await self.authority.publish(NODE_JOINED.at(node), wire.pack(fact), msg_id=new_id())

    async def revoke(self, node: str, reason: str = "") -> None:
        """Have the authority tell that a node is revoked."""
        fact = NodeRevoked(id=node, by="li", reason=reason, at=datetime.now(UTC))
        await self.authority.publish(NODE_REVOKED.at(node), wire.pack(fact), msg_id=new_id())

    async def find(self, node: str) -> Node:
        """Return a node."""
        ticket = self.broker.ticket("node.read")
        return await self.client.ask(FIND_NODE, FindNode(node=node), ticket=ticket)

    async def until(self, node: str, true: Callable[[Node], bool], seconds: float = 30) -> Node:
        """Wait until a node is as it should be."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    found = await self.find(node)
                    if true(found):
                        return found
                except NotFound:
                    pass
                await asyncio.sleep(0.02)

    async def state(self, node: str, state: NodeState, seconds: float = 30) -> Node:
        """Wait until a node is in a state."""
        return await self.until(node, lambda found: found.state is state, seconds)

    def process(self, node: str) -> "subprocess.Popen[bytes]":
        """Be a node in a process of its own."""
        creds = str(self.broker.creds(node))
        made = subprocess.Popen([sys.executable, "-c", CLIENT, self.broker.url, node, creds])
        self.processes.append(made)
        return made

    async def say(self, node: Bus, name: str, data: bytes) -> None:
        """Send a heartbeat."""
        await node.send(f"muster.hb.{name}", data)


@pytest.fixture
async def backstage(broker: Broker) -> AsyncIterator[Stage]:
    """Everything but the registry itself."""
    async with broker.connect("gateway") as client, broker.connect("authority") as authority:
        await ensure_streams(authority.client)
        settings = Settings(data_dir=broker.data_dir, nats=[broker.url], settling=1)
        stage = Stage(broker, client, authority, settings)
        try:
            yield stage
        finally:
            for process in stage.processes:
                if process.poll() is None:
                    os.kill(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
async def stage(backstage: Stage) -> AsyncIterator[Stage]:
    """The registry on SQLite, playing."""
    async with backstage.playing():
        yield backstage


@pytest.fixture(params=["sqlite", "postgresql"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """Open an empty database of the registry, of each kind in turn."""
    url = f"sqlite:///{tmp_path}/registry.db"
    if request.param == "postgresql":
        url = f"{request.getfixturevalue('postgres_url')}&schema=t{new_id()}"
    async with open_database(url, migrations="muster.registry") as opened:
        yield opened
