"""A gateway on a real broker."""

from collections.abc import AsyncGenerator, Iterator

import pytest

from muster.kit.testing import Broker
from tests.gateway.world import World, world


@pytest.fixture(scope="session")
def one_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Run one broker for all tests that do not stop it."""
    broker = Broker(tmp_path_factory.mktemp("gateway"))
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@pytest.fixture
async def here(one_broker: Broker) -> AsyncGenerator[World]:
    """Return a gateway without a dashboard, and its peers."""
    async with world(one_broker) as opened:
        yield opened
