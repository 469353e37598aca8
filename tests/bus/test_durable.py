"""Facts over a broker that is killed: none is lost, and poison is laid aside."""

import asyncio
from collections.abc import Callable

import pytest

from muster.contracts.base import Event, Message
from muster.contracts.errors import Unavailable
from muster.contracts.names import new_id
from muster.kit import durable, wire
from muster.kit.bus import Raw, connect
from muster.kit.tasks import running
from tests.bus.conftest import PlainBroker


class Count(Message):
    """A fact of these tests."""

    number: int


COUNTED = Event("muster.fact.toy.count.{0}.counted", Count, durable=True)
TOLD = Event("muster.live.toy.count.{0}", Count)


async def until(true: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until *true* holds."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


async def test_facts_survive_a_killed_broker(plain: PlainBroker) -> None:
    """Published while the broker dies twice: every fact arrives, none twice in effect."""
    taken: list[tuple[int, str]] = []

    async def take(fact: Count, msg_id: str) -> None:
        taken.append((fact.number, msg_id))

    async with connect(plain.url, name="toy", slowest=0.5) as bus:
        await durable.ensure_streams(bus.client)

        async def publish() -> None:
            for number in range(60):
                body = wire.pack(Count(number=number))
                await bus.publish(COUNTED.at("one"), body, msg_id=new_id())
                await asyncio.sleep(0.01)

        async with (
            bus.consuming(COUNTED, take, durable="toy_counts"),
            running(publish(), "publish") as publishing,
        ):
            for _ in range(2):
                await asyncio.sleep(0.3)
                plain.kill()
                await asyncio.to_thread(plain.start)
            await publishing
            await until(lambda: len({msg_id for _, msg_id in taken}) == 60)
    assert sorted({number for number, _ in taken}) == list(range(60))


async def test_the_same_id_is_stored_once(plain: PlainBroker) -> None:
    """A publish that is repeated because its answer was lost changes nothing."""
    async with connect(plain.url, name="toy") as bus:
        await durable.ensure_streams(bus.client)
        for _ in range(3):
            await bus.publish(COUNTED.at("one"), b'{"number": 1}', msg_id="same")
        info = await bus.client.jetstream().stream_info("FACTS")
        assert info.state.messages == 1


async def test_a_publish_without_a_broker_is_an_error(
    plain: PlainBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried for a while, and then nobody believes that it was stored."""
    monkeypatch.setattr(durable, "_PUBLISH_FOR", 1.0)
    async with connect(plain.url, name="toy") as bus:
        plain.kill()
        with pytest.raises(Unavailable):
            await bus.publish(COUNTED.at("one"), b"{}", msg_id="x")
        plain.start()


async def test_poison_becomes_a_dead_letter(
    plain: PlainBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be taken is tried five times, laid aside with its reason, and holds up nobody."""
    monkeypatch.setattr(durable, "_DELAYS", (0.05,))
    tries: list[int] = []

    async def take(fact: Count, msg_id: str) -> None:
        tries.append(fact.number)
        if fact.number == 13:
            raise RuntimeError("unlucky")

    async with connect(plain.url, name="toy") as bus:
        await durable.ensure_streams(bus.client)
        for body in (b'{"number": 13}', b'{"number": "not one"}', b'{"number": 14}'):
            await bus.publish(COUNTED.at("one"), body, msg_id=new_id())
        async with bus.consuming(COUNTED, take, durable="toy_poison"):
            js = bus.client.jetstream()

            async def dead() -> int:
                return (await js.stream_info("DEAD")).state.messages

            async with asyncio.timeout(20):
                while await dead() < 2:
                    await asyncio.sleep(0.05)
        assert tries.count(13) == durable.ATTEMPTS
        assert tries.count(14) == 1
        letter = await js.get_msg("DEAD", seq=2)
        assert letter.subject == "muster.dead.toy.toy_poison"
        assert letter.headers
        assert "unlucky" in letter.headers["Muster-Reason"]


async def test_what_waits_for_somebody_else_is_no_poison(
    plain: PlainBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that is needed for a fact may be away for longer than five attempts."""
    monkeypatch.setattr(durable, "_DELAYS", (0.02,))
    tries = 0
    taken: list[int] = []

    async def take(fact: Count, _msg_id: str) -> None:
        nonlocal tries
        tries += 1
        if tries <= durable.ATTEMPTS * 2:
            raise Unavailable("the authority is away")
        taken.append(fact.number)

    async with connect(plain.url, name="toy") as bus:
        await durable.ensure_streams(bus.client)
        async with bus.consuming(COUNTED, take, durable="toy_patient"):
            await bus.publish(COUNTED.at("one"), wire.pack(Count(number=7)), msg_id=new_id())
            await until(lambda: bool(taken))
        assert (taken, tries) == ([7], durable.ATTEMPTS * 2 + 1)
        dead = await bus.client.jetstream().stream_info("DEAD")
        assert dead.state.messages == 0


async def test_a_bus_comes_back_by_itself(plain: PlainBroker) -> None:
    """After the broker is back, subscriptions hear again and whoever asked is told."""
    heard: list[int] = []
    back = asyncio.Event()

    async def hear(fact: Count, tokens: tuple[str, ...]) -> None:
        assert tokens == ("one",)
        heard.append(fact.number)

    async def returned() -> None:
        back.set()

    async with connect(plain.url, name="toy", slowest=0.5) as bus:
        bus.on_connect(returned)
        async with bus.listening(TOLD, hear):
            await bus.tell(TOLD, Count(number=1), "one")
            await until(lambda: heard == [1])
            plain.kill()
            await until(lambda: not bus.connected)
            plain.start()
            await asyncio.wait_for(back.wait(), 20)
            await bus.send(TOLD.at("one"), b"garbage")
            await bus.tell(TOLD, Count(number=2), "one")
            await until(lambda: heard == [1, 2])


async def test_the_broker_says_who_is_away(plain: PlainBroker) -> None:
    """A message with a reply to nobody comes back at once as such."""
    heard: list[Raw] = []

    async def take(message: Raw) -> None:
        heard.append(message)

    async with (
        connect(plain.url, name="toy") as bus,
        bus.hearing(f"{bus.inbox}.cmd.*.*", take),
    ):
        await bus.send("muster.cmd.nobody.run", b"x", reply=f"{bus.inbox}.cmd.run.node")
        await until(lambda: bool(heard))
        assert heard[0].nobody
        assert heard[0].subject.endswith(".cmd.run.node")
