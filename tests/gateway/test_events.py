"""The WebSocket: who may open it, and that nothing is lost, repeated or held up."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from muster.contracts.nodes import NODES_CHANGED, NodeChanges, NodesSince
from muster.contracts.policy import Grant
from muster.contracts.runs import RUN_CHANGED, Piece, RunEvent, RunEventsAfter, Stream
from muster.gateway import live, pipe
from muster.gateway.routes import events
from muster.kit.testing import Broker
from tests.gateway.world import RUN, World, csrf, event, node, world

TOPIC = f"run:{RUN}"


def opened(here: World, *, secret: str = "", origin: str | None = None, **headers: str) -> connect:
    """Open the WebSocket as a program with a session."""
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    if origin is not None:
        headers["Origin"] = origin
    url = here.url.replace("http", "ws") + "/api/v1/events"
    return connect(url, additional_headers=headers, proxy=None, max_size=8 << 20)


async def heard(socket: ClientConnection) -> dict[str, Any]:
    """Return the next message."""
    async with asyncio.timeout(20):
        message: dict[str, Any] = json.loads(await socket.recv())
        return message


async def seqs(socket: ClientConnection, last: int) -> list[int]:
    """Return the numbers of the run's events up to *last*."""
    found: list[int] = []
    while not found or found[-1] < last:
        found.append((await heard(socket))["event"]["seq"])
    return found


async def quietly(socket: ClientConnection) -> AsyncGenerator[str | bytes]:
    """Yield what comes until the connection is closed, for whatever reason."""
    async with asyncio.timeout(20):
        with suppress(ConnectionClosed):
            while True:
                yield await socket.recv()


async def happen(here: World, *numbers: int, tell: bool = True, data: bytes = b"") -> None:
    """Let events happen in the run."""
    for number in numbers:
        pieces = [Piece(stream=Stream.OUT, offset=0, data=data)] if data else []
        one = event(number, pieces=pieces)
        here.scheduler.events.append(one)
        if tell:
            await here.bus.tell(RUN_CHANGED, one, RUN)


async def subscribe(here: World, socket: ClientConnection, topic: str, **more: Any) -> None:
    """Subscribe, and wait until the gateway has caught up, perhaps with another's answer."""
    kind = NodesSince if topic == "nodes" else RunEventsAfter
    before = len(here.asked(kind))
    await socket.send(json.dumps({"subscribe": topic, **more}))
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            while len(here.asked(kind)) == before:
                await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("header", "origin"),
    [
        ("Cookie", None),
        ("Cookie", "https://evil.example"),
        ("Cookie", "null"),
        ("Cookie", "http://127.0.0.1:1"),
        ("Authorization", "https://evil.example"),
    ],
)
async def test_another_sites_page_opens_nothing(
    here: World, header: str, origin: str | None
) -> None:
    """The origin is checked before the connection is accepted; a cookie needs the right one."""
    kind = "muster=" if header == "Cookie" else "Bearer "
    with pytest.raises(InvalidStatus) as refused:
        async with opened(here, origin=origin, **{header: kind + here.secret()}):
            pass
    response = refused.value.response
    assert response.status_code == 403
    assert json.loads(response.body or b"")["code"] == "denied"


async def test_nobody_opens_nothing(here: World) -> None:
    """No session, no connection."""
    for headers in ({}, {"Authorization": "Bearer unknown"}, {"Cookie": "muster=old"}):
        with pytest.raises(InvalidStatus) as refused:
            async with opened(here, origin=here.url, **headers):
                pass
        assert refused.value.response.status_code == 401


async def test_a_browser_opens_it_from_our_own_page(one_broker: Broker) -> None:
    """Our own address, or the one that is configured."""
    async with world(one_broker, public_url="http://muster.example") as here:
        cookie = {"Cookie": f"muster={here.secret()}"}
        for origin in (here.url, "http://muster.example"):
            async with opened(here, origin=origin, **cookie) as socket:
                await socket.send(json.dumps({"subscribe": "nodes"}))
                assert (await heard(socket))["reset"] is True


async def test_a_run_is_followed_from_where_one_was(here: World) -> None:
    """What has happened comes first, then what happens, each once and in order."""
    await happen(here, *range(1, 8), tell=False)
    here.scheduler.page = 2
    async with opened(here, secret=here.secret()) as socket:
        await subscribe(here, socket, TOPIC, after=3)
        await happen(here, 8, 9)
        assert await seqs(socket, 9) == [4, 5, 6, 7, 8, 9]
    assert here.scheduler.last(RunEventsAfter).run == RUN


async def test_output_arrives_as_it_was_told(here: World) -> None:
    """The live message is the scheduler's, byte for byte."""
    async with opened(here, secret=here.secret()) as socket:
        await subscribe(here, socket, TOPIC)
        await happen(here, 1, data=bytes(range(256)))
        told = (await heard(socket))["event"]
    assert RunEvent.model_validate(told) == here.scheduler.events[0]


async def test_a_gap_is_filled(here: World) -> None:
    """Live messages may be lost; the client does not notice."""
    async with opened(here, secret=here.secret()) as socket:
        await subscribe(here, socket, TOPIC)
        await happen(here, 1)
        await happen(here, 2, 3, tell=False)
        await happen(here, 4)
        await here.bus.tell(RUN_CHANGED, event(2), RUN)
        await happen(here, 5)
        assert await seqs(socket, 5) == [1, 2, 3, 4, 5]


async def test_a_lost_last_message_is_found(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a run is told even if its message was lost and nothing follows."""
    monkeypatch.setattr(events, "BEAT", 0.2)
    async with opened(here, secret=here.secret()) as socket:
        await subscribe(here, socket, TOPIC)
        await happen(here, 1, tell=False)
        assert await seqs(socket, 1) == [1]


async def test_what_is_told_live_too_early_comes_all_the_same(here: World) -> None:
    """A live message may overtake the commit that it tells of."""
    async with opened(here, secret=here.secret()) as socket:
        await subscribe(here, socket, TOPIC)
        await here.bus.tell(RUN_CHANGED, event(2), RUN)
        await asyncio.sleep(0.3)
        await happen(here, 1, 2, tell=False)
        assert await seqs(socket, 2) == [1, 2]


async def test_many_clients_share_one_subscription(here: World) -> None:
    """One subscription on the bus, however many follow; it ends with the last."""
    secret = here.secret()
    sockets = [await opened(here, secret=secret) for _ in range(20)]
    for socket in sockets:
        await socket.send(json.dumps({"subscribe": TOPIC}))
    await asyncio.sleep(0.5)
    await happen(here, *range(1, 30))
    for socket in sockets:
        assert await seqs(socket, 29) == list(range(1, 30))
    for socket in sockets:
        await socket.close()
    async with opened(here, secret=secret) as socket:
        await subscribe(here, socket, TOPIC, after=29)
        await happen(here, 30)
        assert await seqs(socket, 30) == [30]


async def test_nodes_begin_with_a_reset_and_go_on_by_number(here: World) -> None:
    """A client without a picture reads the list; with one, it gets what changed."""
    async with opened(here, secret=here.secret()) as socket:
        await subscribe(here, socket, "nodes")
        first = await heard(socket)
        assert first["reset"] is True
        assert (first["event"]["epoch"], first["event"]["seq"]) == ("e1", 1)
        changed = NodeChanges(epoch="e1", seq=2, items=[node(seq=2, name="web2")])
        here.registry.changes = list(changed.items)
        await here.registry_bus.tell(NODES_CHANGED, changed)
        told = await heard(socket)
        assert told["event"]["items"][0]["name"] == "web2"
    async with opened(here, secret=here.secret()) as socket:
        await socket.send(json.dumps({"subscribe": "nodes", "after": 1, "epoch": "e1"}))
        assert (await heard(socket))["event"]["seq"] == 2


async def test_a_new_epoch_of_the_registry_resets(here: World) -> None:
    """Numbers of another epoch mean nothing."""
    async with opened(here, secret=here.secret()) as socket:
        await subscribe(here, socket, "nodes", after=1, epoch="e1")
        here.registry.epoch = "e2"
        changed = NodeChanges(epoch="e2", seq=1, items=[node()])
        await here.registry_bus.tell(NODES_CHANGED, changed)
        told = await heard(socket)
        assert (told["reset"], told["event"]["epoch"]) == (True, "e2")
        here.registry.changes = [node(seq=2)]
        await here.registry_bus.tell(
            NODES_CHANGED, NodeChanges(epoch="e2", seq=2, items=[node(seq=2)])
        )
        assert (await heard(socket))["event"]["seq"] == 2


async def test_a_right_is_needed_for_each_topic(here: World) -> None:
    """Who may read runs may not read nodes by that."""
    async with opened(here, secret=here.secret(["run.read"])) as socket:
        await socket.send(json.dumps({"subscribe": "nodes"}))
        assert (await heard(socket))["error"]["code"] == "denied"
        await happen(here, 1, tell=False)
        await subscribe(here, socket, TOPIC)
        assert await seqs(socket, 1) == [1]
    assert here.registry.asked == []


async def test_nonsense_is_answered_and_the_connection_lives(here: World) -> None:
    """A typing error costs nothing but an error message."""
    async with opened(here, secret=here.secret()) as socket:
        for text in ("x", "[]", '{"subscribe": "run:1"}', '{"subscribe": "*"}', "x" * 5000):
            await socket.send(text)
            assert (await heard(socket))["error"]["code"] == "malformed"
        await socket.send(json.dumps({"subscribe": f"run:{RUN[:-1]}0"}))
        assert (await heard(socket))["error"]["code"] == "not_found"
        await happen(here, 1, tell=False)
        await subscribe(here, socket, TOPIC)
        assert await seqs(socket, 1) == [1]


async def test_who_unsubscribes_hears_no_more(here: World) -> None:
    """And may come back at once."""
    async with opened(here, secret=here.secret()) as socket:
        await subscribe(here, socket, TOPIC)
        await happen(here, 1)
        assert await seqs(socket, 1) == [1]
        await socket.send(json.dumps({"unsubscribe": TOPIC}))
        await asyncio.sleep(0.2)
        await happen(here, 2)
        await subscribe(here, socket, TOPIC, after=2)
        await happen(here, 3)
        assert await seqs(socket, 3) == [3]


async def test_a_slow_client_is_cut_and_others_are_not_held_up(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory in the gateway is bounded; it resumes from the last event that it has seen."""
    monkeypatch.setattr(live, "QUEUE", 50)
    here.scheduler.page = 5
    secret = here.secret()
    async with opened(here, secret=secret) as slow, opened(here, secret=secret) as quick:
        await subscribe(here, slow, TOPIC)
        await subscribe(here, quick, TOPIC)
        slow.transport.pause_reading()
        quick_seqs = asyncio.ensure_future(seqs(quick, 400))
        for number in range(1, 401):
            await happen(here, number, data=b"x" * 50_000)
            if number % 20 == 0:
                await asyncio.sleep(0.01)
        assert await quick_seqs == list(range(1, 401))
        slow.transport.resume_reading()
        seen = [json.loads(text)["event"]["seq"] async for text in quietly(slow)]
        assert slow.close_code == 1013
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) < 400
    async with opened(here, secret=secret) as again:
        await again.send(json.dumps({"subscribe": TOPIC, "after": len(seen)}))
        assert await seqs(again, 400) == list(range(len(seen) + 1, 401))


async def test_a_revoked_session_is_cut(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session is looked at again and again while the connection is open."""
    monkeypatch.setattr(events, "BEAT", 0.2)
    secret = here.secret()
    async with opened(here, secret=secret) as socket:
        await subscribe(here, socket, TOPIC)
        del here.authority.sessions[secret]
        with pytest.raises(ConnectionClosed) as cut:
            await heard(socket)
        assert cut.value.rcvd is not None
        assert cut.value.rcvd.code == 1008


async def test_a_right_that_is_taken_away_ends_the_topic(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without cutting the rest."""
    monkeypatch.setattr(events, "BEAT", 0.2)
    secret = here.secret()
    async with opened(here, secret=secret) as socket:
        await subscribe(here, socket, TOPIC)
        here.secret(["node.read"])
        assert (await heard(socket))["error"]["code"] == "denied"
        await happen(here, 1)
        await socket.send(json.dumps({"subscribe": "nodes"}))
        assert (await heard(socket))["reset"] is True


async def test_lost_rights_end_the_topic_within_two_seconds(here: World) -> None:
    """And a session that is over cuts the connection as fast, wherever it was ended."""
    secret = here.secret()
    async with opened(here, secret=secret) as socket, asyncio.timeout(2):
        await subscribe(here, socket, TOPIC)
        await here.change_rights("ada", ["node.read"])
        assert (await heard(socket))["error"]["code"] == "denied"
        del here.authority.sessions[secret]
        await here.change_rights("ada", ["node.read"])
        with pytest.raises(ConnectionClosed) as cut:
            await heard(socket)
        assert cut.value.rcvd is not None
        assert cut.value.rcvd.code == 1008


async def test_who_may_see_some_is_not_told_of_others(here: World) -> None:
    """What is told live to everybody is asked for with the person's own ticket instead."""
    grants = [Grant(actions=["node.read"], nodes="@web")]
    secret = here.secret(["node.read"], name="li", grants=grants)
    async with opened(here, secret=secret) as socket:
        await subscribe(here, socket, "nodes")
        assert (await heard(socket))["reset"] is True
        here.forget()
        await asyncio.sleep(0.3)
        hidden = NodeChanges(epoch="e1", seq=2, items=[node("hidden", seq=2)])
        here.registry.changes = [node("web1", seq=3)]
        await here.registry_bus.tell(NODES_CHANGED, hidden)
        told = await heard(socket)
        assert [one["name"] for one in told["event"]["items"]] == ["web1"]
        [(_, caller), *_] = here.asked(NodesSince)
        assert caller.name == "li"


async def test_logging_out_cuts_the_sessions_connections_at_once(here: World) -> None:
    """Not only after the next look."""
    async with here.browser() as client:
        cookie = {"Cookie": f"muster={client.cookies['muster']}"}
        async with opened(here, origin=here.url, **cookie) as socket:
            await client.post("/api/v1/logout", headers=csrf(client))
            with pytest.raises(ConnectionClosed) as cut:
                await heard(socket)
            assert cut.value.rcvd is not None
            assert cut.value.rcvd.code == 1008


async def test_following_goes_on_after_the_broker_has_restarted(broker: Broker) -> None:
    """What was told while the broker was away is asked for when it is back."""
    async with world(broker) as here, opened(here, secret=here.secret()) as socket:
        await subscribe(here, socket, TOPIC)
        await happen(here, 1)
        assert await seqs(socket, 1) == [1]
        await asyncio.to_thread(broker.restart)
        await happen(here, 2, tell=False)
        assert await seqs(socket, 2) == [2]


def test_the_dashboards_sockets_are_looked_at_as_often() -> None:
    """One beat for both kinds, well within the 30 s that are promised."""
    assert vars(events)["BEAT"] == vars(pipe)["BEAT"] == live.BEAT <= 15
