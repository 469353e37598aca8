"""A node that floods is out for a while, longer each time, and comes back by itself."""

import asyncio
import gc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from muster.authority import suspending
from muster.authority.suspending import FIRST, LONGEST, Suspensions
from muster.contracts.authority import FLOODS, Flood
from tests.authority.conftest import Stage

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_each_time_is_twice_as_long_up_to_an_hour() -> None:
    """After an hour of calm it begins anew."""
    some = Suspensions()
    now = NOW
    spans = []
    for _ in range(9):
        begun = some.begin("n", "key", now)
        assert begun is not None
        assert some.begin("n", "key", now) is None
        spans.append(begun.until - now)
        now = begun.until
    assert spans[:3] == [FIRST, FIRST * 2, FIRST * 4]
    assert spans[-1] == LONGEST
    begun = some.begin("n", "key", now + LONGEST + timedelta(seconds=1))
    assert begun is not None
    assert begun.number == 1


def test_a_key_is_shut_out_until_the_end() -> None:
    """And the next end is known, so that nobody has to look for it."""
    some = Suspensions()
    assert some.next_end(NOW) is None
    some.begin("a", "first", NOW)
    some.begin("b", "second", NOW + timedelta(seconds=10))
    assert some.keys(NOW + timedelta(seconds=11)) == {
        "first": NOW,
        "second": NOW + timedelta(seconds=10),
    }
    assert some.next_end(NOW + timedelta(seconds=10)) == 50
    assert some.keys(NOW + timedelta(seconds=65)) == {"second": NOW + timedelta(seconds=10)}
    assert some.keys(NOW + timedelta(hours=1)) == {}


pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Have the sockets of refused attempts collected, which nats-py leaves open."""
    yield
    gc.collect()


async def test_the_broker_cuts_it_and_lets_it_in_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by a service; nobody has to do anything for it to come back."""
    monkeypatch.setattr(suspending, "FIRST", timedelta(seconds=1))
    node = await stage.node()
    async with stage.broker.connect(node) as bus, stage.broker.connect("registry") as registry:
        await registry.ask(FLOODS, Flood(node=node, service="registry"))
        async with asyncio.timeout(20):
            while bus.connected:
                await asyncio.sleep(0.01)
            while not bus.connected:
                await asyncio.sleep(0.01)
    records = await stage.audit(action="node.suspend")
    assert [(one.who, one.nodes) for one in records] == [("@server", [node])]
    assert records[0].detail.startswith("floods the registry; until ")
