"""Questions and answers over a real broker: who may ask, and what becomes of each request."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muster.contracts.base import NODE, SERVICE, Call, Message
from muster.contracts.errors import (
    Conflict,
    Denied,
    Malformed,
    MusterError,
    NoAnswer,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from muster.contracts.names import NodeId, new_node_id
from muster.kit.bus import Bus, Caller, Raw, answers, connect
from muster.kit.tasks import running
from tests.bus.conftest import PUBLIC, PlainBroker, ticket


class Say(Message):
    """A question of these tests."""

    text: str
    node: NodeId | None = None


class Said(Message):
    """Its answer."""

    text: str
    by: str = ""


ECHO = Call("muster.svc.toy.echo", Say, Said, "toy.use")
OPEN = Call("muster.svc.toy.open", Say, Said, SERVICE)
NODES = Call("muster.svc.toy.nodes", Say, Said, NODE)


class Toy:
    """A service that does as it is told."""

    def __init__(self) -> None:
        """Count what was done."""
        self.done: list[str] = []

    @answers(ECHO)
    async def echo(self, ask: Say, caller: Caller) -> Said:
        """Answer with what was asked."""
        return Said(text=ask.text, by=caller.name)

    @answers(OPEN)
    async def open(self, ask: Say, caller: Caller) -> Said:  # noqa: ARG002
        """Wait, fail, or swell."""
        kind, _, rest = ask.text.partition(":")
        if kind == "wait":
            await asyncio.sleep(float(rest))
        if kind == "refuse":
            raise Conflict("not now: 冲突\nsecond line")
        if kind == "crash":
            raise RuntimeError("the secret is 42")
        self.done.append(ask.text)
        return Said(text="x" * int(rest) if kind == "swell" else ask.text)

    @answers(NODES)
    async def nodes(self, ask: Say, caller: Caller) -> Said:
        """Say which node asked."""
        return Said(text=ask.text, by=str(caller.node))


@pytest.fixture
async def client(plain: PlainBroker) -> AsyncIterator[Bus]:
    """Open a bus for the one who asks."""
    async with connect(plain.url, name="client") as bus:
        yield bus


@pytest.fixture
async def toy(plain: PlainBroker) -> AsyncIterator[Toy]:
    """Serve the toy on a connection of its own."""
    service = Toy()
    async with (
        connect(plain.url, name="toy", keys=[PUBLIC]) as bus,
        bus.serving(service, name="toy", version="0.0.1"),
    ):
        yield service


async def test_a_ticket_proves_who_asks(client: Bus, toy: Toy) -> None:
    """The handler knows the person, and nobody had to look it up."""
    answer = await client.ask(ECHO, Say(text="hi"), ticket=ticket("toy.*"))
    assert answer == Said(text="hi", by="li")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (str, Unauthenticated),
        (lambda: "rubbish", Unauthenticated),
        (lambda: ticket("toy.use", seconds=-1), Unauthenticated),
        (lambda: ticket("toy.use", key=Ed25519PrivateKey.generate()), Unauthenticated),
        (lambda: ticket("toys.use", "toy"), Denied),
        (ticket, Denied),
    ],
)
async def test_without_a_good_ticket_nothing_is_answered(
    client: Bus, toy: Toy, make: Callable[[], str], error: type[MusterError]
) -> None:
    """Missing, forged, expired, of another authority, without the permission: all refused."""
    with pytest.raises(error):
        await client.ask(ECHO, Say(text="hi"), ticket=make())


async def test_a_changed_ticket_is_refused(client: Bus, toy: Toy) -> None:
    """Any other byte in it makes it worthless."""
    good = ticket("toy.use")
    for place in (0, 12, 40, len(good) - 4):
        bad = good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
        with pytest.raises(Unauthenticated):
            await client.ask(ECHO, Say(text="hi"), ticket=bad)


async def test_a_node_is_who_its_subject_says(plain: PlainBroker, toy: Toy) -> None:
    """The broker holds a node to its own subject, so the subject is the proof."""
    node = new_node_id()
    async with connect(plain.url, name=node) as bus:
        assert (await bus.ask(NODES, Say(text="hi"), node=node)).by == node
        with pytest.raises(Denied):
            await bus.ask(NODES, Say(text="hi"), node="me")


async def test_an_answer_never_goes_to_a_foreign_subject(plain: PlainBroker, toy: Toy) -> None:
    """A node cannot make a service speak on another node's command subject or inbox."""
    red, blue = new_node_id(), new_node_id()
    heard: list[Raw] = []

    async def take(message: Raw) -> None:
        heard.append(message)

    async with connect(plain.url, name=red) as bus, bus.hearing(">", take):
        body = Say(text="hi").model_dump_json().encode()
        for reply in (f"muster.cmd.{blue}.run", f"_INBOX_{blue}.1", "_INBOX.1", f"_INBOX_{red}x.1"):
            await bus.send(f"{NODES.subject}.{red}", body, reply=reply)
        await bus.ask(NODES, Say(text="last"), node=red)
        await bus.flush()
    answered = [m.subject for m in heard if not m.subject.startswith(("muster.svc", "$SRV"))]
    assert all(subject.startswith(f"_INBOX_{red}.") for subject in answered)
    assert answered


async def test_what_does_not_fit_is_refused_with_the_place(client: Bus, toy: Toy) -> None:
    """The contract refuses, not the handler, and the value is not repeated."""
    careless = Call(OPEN.subject, Said, Said, SERVICE)
    with pytest.raises(Malformed, match="text"):
        await client.request(OPEN.subject, b'{"text": {"secret": 1}}')
    with pytest.raises(Malformed, match="body"):
        await client.request(OPEN.subject, b"\x00\xff")
    with pytest.raises(Malformed, match="node"):
        await client.request(OPEN.subject, b'{"text": "x", "node": "*"}')
    assert (await client.ask(careless, Said(text="ok", by="ignored"))).text == "ok"


async def test_a_refusal_arrives_as_itself(client: Bus, toy: Toy) -> None:
    """An expected error crosses the bus, whatever letters it has."""
    with pytest.raises(Conflict, match="not now: 冲突 second line"):
        await client.ask(OPEN, Say(text="refuse"))


async def test_a_crash_tells_nothing(client: Bus, toy: Toy) -> None:
    """Details of an unexpected error stay in the service's own log."""
    with pytest.raises(MusterError) as error:
        await client.ask(OPEN, Say(text="crash"))
    assert str(error.value) == "internal error"


async def test_what_is_too_large_is_said(client: Bus, toy: Toy) -> None:
    """Neither the question nor the answer is lost silently."""
    with pytest.raises(TooLarge):
        await client.ask(OPEN, Say(text="swell:2000000"))
    with pytest.raises(TooLarge):
        await client.ask(OPEN, Say(text="x" * 2_000_000))


async def test_slow_requests_do_not_hold_up_each_other(client: Bus, toy: Toy) -> None:
    """nats-py alone would take four times as long."""
    began = time.monotonic()
    await asyncio.gather(*(client.ask(OPEN, Say(text="wait:0.3")) for _ in range(8)))
    assert time.monotonic() - began < 1.2


async def test_what_has_begun_is_finished(plain: PlainBroker, client: Bus) -> None:
    """A service that is told to end answers every request that it has taken."""
    service = Toy()
    async with connect(plain.url, name="toy") as bus:
        async with bus.serving(service, name="toy", version="0.0.1", at_once=2):
            asks = [client.ask(OPEN, Say(text="wait:0.2")) for _ in range(6)]
            waiting = asyncio.gather(*asks)
            await asyncio.sleep(0.1)
        answered = await waiting
    assert len(answered) == len(service.done) == 6


async def test_a_service_that_restarts_is_waited_for(plain: PlainBroker, client: Bus) -> None:
    """Nobody sees an error because a service was away for a moment."""

    async def late() -> None:
        await asyncio.sleep(0.4)
        async with (
            connect(plain.url, name="toy") as bus,
            bus.serving(Toy(), name="toy", version="0.0.1"),
        ):
            await asyncio.sleep(10)

    async with running(late(), "late"):
        assert (await client.ask(OPEN, Say(text="hi"))).text == "hi"


async def test_nobody_there_is_said_soon(client: Bus) -> None:
    """A service that does not run is named."""
    with pytest.raises(Unavailable, match="svc.toy.open"):
        await client.request(OPEN.subject, b"{}", patience=0.1)


async def test_garbage_does_not_wedge_a_service(client: Bus, toy: Toy) -> None:
    """After 2,000 messages that make no sense the next good one is answered at once."""
    for number in range(2000):
        await client.send(OPEN.subject, bytes([number % 256]) * (number % 97))
    began = time.monotonic()
    assert (await client.ask(OPEN, Say(text="hi"))).text == "hi"
    assert time.monotonic() - began < 3


async def test_a_safe_call_outlives_its_broker(plain: PlainBroker, client: Bus, toy: Toy) -> None:
    """What only reads is asked again when the connection broke before the answer."""
    safe = replace(OPEN, safe=True)
    asked = asyncio.ensure_future(client.ask(safe, Say(text="wait:1"), timeout=20))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(plain.kill)
    await asyncio.to_thread(plain.start)
    assert (await asked).text == "wait:1"
    assert toy.done.count("wait:1") == 2


async def test_a_call_that_changes_something_is_not_asked_twice(
    plain: PlainBroker, client: Bus, toy: Toy
) -> None:
    """The caller hears at once that nobody knows, long before the time is up."""
    asked = asyncio.ensure_future(client.ask(OPEN, Say(text="wait:1"), timeout=50))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(plain.kill)
    with pytest.raises(NoAnswer, match="connection was lost"):
        async with asyncio.timeout(10):
            await asked
    await asyncio.to_thread(plain.start)
    await asyncio.sleep(1.5)
    assert toy.done == ["wait:1"]


async def test_a_busy_endpoint_does_not_hold_up_another(plain: PlainBroker, client: Bus) -> None:
    """More long questions than there are places for: the other calls are answered at once."""
    async with (
        connect(plain.url, name="toy", keys=[PUBLIC]) as bus,
        bus.serving(Toy(), name="toy", version="0.0.1", at_once=4),
        asyncio.TaskGroup() as group,
    ):
        long = [group.create_task(client.ask(OPEN, Say(text="wait:2"))) for _ in range(5)]
        await asyncio.sleep(0.2)
        async with asyncio.timeout(1.5):
            await client.ask(ECHO, Say(text="hi"), ticket=ticket("toy.*"))
        assert not any(one.done() for one in long)
