"""One real agent, joined to a real broker."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from muster.agent.home import Home
from muster.contracts.names import new_node_id
from muster.kit.testing import Broker
from tests.agent.stage import Process, Server, end_all, join, serving


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Give an agent a directory."""
    home = Home(tmp_path / "agent")
    home.make()
    return home


@pytest.fixture
async def server(broker: Broker, home: Home) -> AsyncIterator[Server]:
    """Be the services of a node that has joined."""
    node = new_node_id()
    key = join(broker, home, node)
    async with serving(broker, node, key.public) as server:
        yield server


@pytest.fixture(autouse=True)
async def _tidy() -> AsyncIterator[None]:
    """End every agent that the test has started, and what those have started."""
    yield
    await end_all()


@pytest.fixture
async def agent(server: Server, home: Home) -> Process:
    """Run the agent."""
    process = Process(home, server)
    await process.start()
    return process
