"""TLS to the broker: whom to trust is asked at each attempt, and a failed one is not the last."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster.kit import bus
from muster.kit.client import Trust
from muster.kit.identity.certificates import client_context, create_ca
from muster.kit.testing import Broker


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Broker]:
    """Run a broker that speaks TLS alone."""
    broker = Broker(tmp_path / "server", secure=True)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


async def test_a_client_that_cannot_believe_the_broker_goes_on_trying(secure: Broker) -> None:
    """From the first attempt on; as soon as it may believe it, it is connected."""
    trusted = [create_ca().cert.decode()]
    errors: list[Exception] = []

    async def failed(error: Exception) -> None:
        errors.append(error)
        if len(errors) == 3:
            trusted[0] = secure.authorities.bundle.read_text()
        raise RuntimeError("what is done about it may fail as well")

    trust = Trust(lambda: client_context(trusted[0]), failed)
    async with (
        asyncio.timeout(20),
        bus.connect(
            secure.url, name="registry", creds=secure.creds("registry"), trust=trust
        ) as line,
    ):
        assert line.connected
    assert len(errors) == 3


async def test_after_the_connection_is_lost_it_is_asked_again(secure: Broker) -> None:
    """Another CA meanwhile: the old one is not believed any longer, the new one is."""
    back = asyncio.Event()

    async def connected() -> None:
        back.set()

    async with secure.connect("registry") as line:
        line.on_connect(connected)
        for path in secure.authorities.folder.iterdir():
            path.unlink()
        secure.write_config()
        secure.restart()
        async with asyncio.timeout(20):
            await back.wait()
