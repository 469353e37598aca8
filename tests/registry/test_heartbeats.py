"""Heartbeats: what a node says of itself harms nobody else."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from muster.contracts.errors import Unavailable
from muster.contracts.nodes import DiskUse, Metrics, NodeState
from muster.kit.client import Credentials
from muster.registry import store
from muster.registry.presence import Presence
from tests.registry.conftest import METRICS, Stage, beat, raw_beat

DEEP = b'{"at":' + b"[" * 5000

HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"\xff\x00{",
    "another shape": b"[1,2,3]",
    "deep": DEEP,
    "infinite": raw_beat(metrics__uptime="Infinity"),
    "too large a number": raw_beat().replace(b'"uptime": 0.0', b'"uptime": 1e999'),
    "not a number": raw_beat(metrics__uptime=float("nan")),
    "negative": raw_beat(metrics__memory_used=-1),
    "huge integer": raw_beat(metrics__memory_total=10**300),
    "wrong types": raw_beat(metrics=[]),
    "long text": raw_beat(trouble="x" * 10_240),
    "long name of a disk": raw_beat(
        metrics__disks=[{"mount": "x" * 10_240, "total": 1, "used": 1}]
    ),
    "no offset": raw_beat(at="2026-01-01T00:00:00"),
    "very large": beat() + b" " * 300_000,
}
ODD: dict[str, bytes] = {
    "large": raw_beat().replace(b'"uptime": 0.0', b'"uptime": 1e308'),
    "largest integer": raw_beat(metrics__memory_total=1 << 53),
    "far future": raw_beat(at="9999-12-31T23:59:59Z"),
    "controls": raw_beat(version="1\0\x1b[2J", trouble="\u202e\0"),
    "unknown field": raw_beat(a_field_of_tomorrow={"x": 1}),
}


async def settle(stage: Stage, node: str) -> None:
    """Have the next heartbeat of a node taken at once."""
    assert stage.registry
    stage.registry.picture.by_id[node].accepted = 0.0


async def test_hostile_heartbeats_are_dropped(stage: Stage) -> None:
    """Each of them, and the next good one is taken; a neighbour is not touched."""
    node, other = await stage.join("bad"), await stage.join("good")
    async with stage.broker.connect(node) as line, stage.broker.connect(other) as good:
        await stage.say(good, other, beat())
        before = await stage.until(other, lambda found: found.metrics is not None)
        for data in HOSTILE.values():
            await settle(stage, node)
            await stage.say(line, node, data)
        await line.flush()
        await asyncio.sleep(0.3)
        assert (await stage.find(node)).metrics is None
        assert await stage.find(other) == before
        await settle(stage, node)
        await stage.say(line, node, beat())
        await stage.until(node, lambda found: found.metrics == METRICS)


@pytest.mark.parametrize("kind", ODD)
async def test_odd_heartbeats_can_be_read_again(backstage: Stage, kind: str) -> None:
    """What is taken is told, kept, and there after a restart."""
    async with backstage.playing() as registry:
        node = await backstage.join()
        async with backstage.broker.connect(node) as line:
            await backstage.say(line, node, ODD[kind])
            found = await backstage.until(node, lambda found: found.metrics is not None)
        assert not set(found.version + found.trouble) & set("\0\x1b\u202e")
        await registry.beats.flush()
        now = datetime.now(UTC).timestamp()
        items = await registry._db.read(  # noqa: SLF001
            lambda conn: store.read_samples(conn, node, now - 60, now + 60, 10)
        )
        assert [item.metrics for item in items] == [found.metrics]
    async with backstage.playing():
        again = await backstage.find(node)
        assert (again.metrics, again.version) == (found.metrics, found.version)


async def test_a_flood_is_not_read(stage: Stage) -> None:
    """One heartbeat a second is taken from each node; the others get through."""
    node, other = await stage.join("bad"), await stage.join("good")
    async with stage.broker.connect(node) as line, stage.broker.connect(other) as good:
        for n in range(3000):
            await stage.say(line, node, beat(seq=n))
        await stage.say(good, other, beat())
        await stage.until(other, lambda found: found.metrics is not None, seconds=10)
        await line.flush()
    assert stage.registry
    await stage.registry.beats.flush()
    now = datetime.now(UTC).timestamp()
    items = await stage.registry._db.read(  # noqa: SLF001
        lambda conn: store.read_samples(conn, node, now - 60, now + 60, 600)
    )
    assert 1 <= len(items) <= 10


async def test_nobody_speaks_for_another(stage: Stage) -> None:
    """Neither a stranger nor an unknown subject changes anything."""
    node, other = await stage.join("web"), await stage.join("db")
    async with stage.broker.connect(other) as line:
        await stage.say(line, node, beat())
        await line.flush()
        await asyncio.sleep(0.2)
    assert (await stage.find(node)).metrics is None


async def test_a_clock_that_is_wrong_is_told(stage: Stage) -> None:
    """How far it is off, by our own clock; our times are ours."""
    node = await stage.join()
    data = json.loads(beat())
    data["at"] = (datetime.now(UTC) + timedelta(hours=3)).isoformat()
    async with stage.broker.connect(node) as line:
        await stage.say(line, node, json.dumps(data).encode())
        found = await stage.until(node, lambda found: found.metrics is not None)
    assert found.skew == pytest.approx(10800, abs=10)
    assert found.metrics_at
    assert abs((found.metrics_at - datetime.now(UTC)).total_seconds()) < 30


async def test_a_node_behind_a_bridge_lives_by_its_heartbeats(backstage: Stage) -> None:
    """The broker never shows a connection of it; after the silence it is offline."""
    backstage.settings = backstage.settings.model_copy(update={"silence": 1.5})
    async with backstage.playing() as registry:
        node = await backstage.join()
        key = Credentials.from_file(backstage.broker.creds(node)).key.public
        _blind(registry.presence, key)
        async with backstage.broker.connect(node) as line:
            await backstage.say(line, node, beat())
            await backstage.state(node, NodeState.ONLINE)
            found = await backstage.state(node, NodeState.OFFLINE, seconds=10)
            assert found.reason == "no heartbeat"
            await backstage.say(line, node, beat())
            await backstage.state(node, NodeState.ONLINE)


def _blind(presence: Presence, hidden: str) -> None:
    """Have the broker not show the connections of one key, as behind a leaf node."""
    shown: Any
    for name in ("connected", "disconnected"):
        shown = getattr(presence, name)
        setattr(
            presence,
            name,
            lambda key, *more, shown=shown: [] if key == hidden else shown(key, *more),
        )


async def test_metrics_survive_a_restart(backstage: Stage) -> None:
    """The latest ones, and the history, written at the end at the latest."""
    async with backstage.playing():
        node = await backstage.join()
        async with backstage.broker.connect(node) as line:
            await backstage.say(line, node, beat())
            found = await backstage.until(node, lambda found: found.metrics is not None)
    async with backstage.playing() as registry:
        again = await backstage.find(node)
        assert (again.metrics, again.metrics_at) == (found.metrics, found.metrics_at)
        now = datetime.now(UTC).timestamp()
        items = await registry._db.read(  # noqa: SLF001
            lambda conn: store.read_samples(conn, node, now - 600, now + 60, 10)
        )
        assert len(items) == 1


async def test_a_database_in_trouble_loses_no_metrics(stage: Stage) -> None:
    """What could not be written is written later, once."""
    assert stage.registry
    node = await stage.join()
    beats = stage.registry.beats
    write, broken = beats._db.write, [True]  # noqa: SLF001

    async def failing(work: Any) -> Any:
        if broken[0]:
            raise Unavailable("full")
        return await write(work)

    beats._db.write = failing  # type: ignore[method-assign]  # noqa: SLF001
    async with stage.broker.connect(node) as line:
        await stage.say(line, node, beat())
        await stage.until(node, lambda found: found.metrics is not None)
    with pytest.raises(Unavailable):
        await beats.flush()
    broken[0] = False
    await beats.flush()
    await beats.flush()
    now = datetime.now(UTC).timestamp()
    items = await stage.registry._db.read(  # noqa: SLF001
        lambda conn: store.read_samples(conn, node, now - 60, now + 60, 10)
    )
    assert len(items) == 1


async def test_a_node_that_tells_very_much_does_not_silence_the_others(stage: Stage) -> None:
    """Live news of the others arrive, although what it says fills a message."""
    node, other = await stage.join("fat"), await stage.join("thin")
    disks = [DiskUse(mount="x" * 990, total=1, used=1) for _ in range(240)]
    fat = Metrics(cpu=1, memory_total=1, memory_used=1, disks=disks)
    async with stage.broker.connect(node) as line, stage.broker.connect(other) as good:
        await stage.say(line, node, beat(fat))
        await stage.say(good, other, beat())
        await stage.until(node, lambda found: found.metrics is not None)
        await stage.until(other, lambda found: found.metrics is not None)
