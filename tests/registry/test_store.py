"""What the registry keeps, on both databases."""

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from muster.contracts.errors import Conflict
from muster.contracts.names import new_node_id
from muster.contracts.nodes import History, Inventory, Metrics, NodeState
from muster.kit import wire
from muster.kit.identity.nkeys import Key
from muster.kit.migrating import drift
from muster.kit.sql import Database
from muster.registry import store
from muster.registry.entry import Entry
from muster.registry.tables import metadata, nodes, samples

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def entry(name: str, **more: Any) -> Entry:
    """Return a node."""
    key = Key.generate("U").public
    values: dict[str, Any] = {"public_key": key, "joined": NOW, "state_since": NOW} | more
    return Entry(id=new_node_id(), name=name, state=NodeState.NEW, **values)


def metrics(cpu: float = 1.0, cores: int = 1) -> Metrics:
    """Return how a host is."""
    return Metrics(cpu=cpu, cores=[12.3] * cores, memory_total=2**40, memory_used=2**39)


async def test_the_tables_are_what_the_steps_make(db: Database) -> None:
    """What is described is what there is."""
    assert await db.write(lambda conn: drift(conn, metadata, "muster.registry")) == []


async def test_a_node_comes_back_as_it_was(db: Database) -> None:
    """Who it is, what people said of it, and how it was at last."""
    web = entry("web", groups=["eu"], tags={"k": "v"})
    await db.write(lambda conn: store.add(conn, web))
    web.state, web.seen, web.reason = NodeState.OFFLINE, NOW, "Stale"
    web.metrics, web.metrics_at, web.version = metrics(), NOW, "1"
    web.inventory = Inventory(hostname="h\0st", os="x")
    text = store.pack_inventory(web.inventory)
    await db.write(lambda conn: store.keep(conn, [web]))
    await db.write(lambda conn: store.change(conn, web.id, inventory=text))
    assert await db.read(store.load) == [web]


async def test_keeping_how_a_node_is_undoes_nothing_that_people_said(db: Database) -> None:
    """Both may happen at the same time."""
    web = entry("web")
    await db.write(lambda conn: store.add(conn, web))
    await db.write(lambda conn: store.change(conn, web.id, name="new", tags={"a": "b"}))
    await db.write(lambda conn: store.keep(conn, [web]))
    [found] = await db.read(store.load)
    assert (found.name, found.tags) == ("new", {"a": "b"})


async def test_a_name_is_of_one_node(db: Database) -> None:
    """The database has the last word."""
    web, other = entry("web"), entry("db")
    for one in (web, other):
        await db.write(partial(store.add, entry=one))
    with pytest.raises(Conflict):
        await db.write(lambda conn: store.change(conn, other.id, name="web"))
    assert await db.read(store.names) == {"web", "db"}


async def test_what_cannot_be_read_any_more_stops_nobody(db: Database) -> None:
    """The node tells it anew; the others are there."""
    web = entry("web")
    await db.write(lambda conn: store.add(conn, web))
    broken = '{"cpu":null}'
    await db.write(
        lambda conn: conn.execute(sa.update(nodes).values(metrics=broken, inventory=broken))
    )
    [found] = await db.read(store.load)
    assert (found.metrics, found.inventory) == (None, None)


async def fill(db: Database, node: str, count: int, cores: int = 1) -> None:
    """Keep *count* samples, ten seconds apart; the CPU counts up."""
    rows = [
        (node, NOW.timestamp() + n * 10, store.pack_sample(metrics(n % 100, cores)))
        for n in range(count)
    ]
    await db.write(lambda conn: store.put_samples(conn, rows))
    await db.write(lambda conn: store.put_samples(conn, rows[:3]))  # again: no harm


async def history(db: Database, node: str, points: int, hours: float = 2) -> History:
    """Return the history of a node."""
    start, end = NOW.timestamp(), NOW.timestamp() + hours * 3600
    items = await db.read(lambda conn: store.read_samples(conn, node, start, end, points))
    return History(node=node, items=items)


async def test_history_is_thinned_out_evenly(db: Database) -> None:
    """At most so many points, in order, over the whole time, the newest one among them."""
    node = new_node_id()
    await fill(db, node, 720)
    whole = await history(db, node, 720)
    assert [item.metrics.cpu for item in whole.items] == [n % 100 for n in range(720)]
    for points in (1, 7, 100, 719):
        found = (await history(db, node, points)).items
        assert len(found) == points
        assert found == sorted(found, key=lambda item: item.at)
        assert found[-1] == whole.items[-1]
    gaps = [b.at - a.at for a, b in pairwise(found)]
    assert max(gaps) <= timedelta(seconds=30)
    assert (await history(db, new_node_id(), 100)).items == []


@pytest.mark.parametrize("cores", [64, 1024, 4096])
async def test_history_fits_in_a_message(db: Database, cores: int) -> None:
    """However many cores a host has: then there are fewer points, the newest among them."""
    node = new_node_id()
    await fill(db, node, 720, cores)
    found = await history(db, node, 600)
    assert len(wire.pack(found)) < 1024 * 1024
    assert len(found.items) == 600 or len(wire.pack(found)) > 400_000
    assert found.items[-1].at == NOW + timedelta(seconds=7190)


async def test_what_is_old_goes(db: Database) -> None:
    """And only that, and a sample that cannot be read is left out."""
    node = new_node_id()
    await fill(db, node, 100)
    removed = await db.write(lambda conn: store.prune(conn, NOW.timestamp() + 500))
    assert removed == 50
    broken = (
        node,
        NOW.timestamp() + 5000,
        store.pack_sample(metrics()),
    )
    await db.write(lambda conn: store.put_samples(conn, [broken]))
    await db.write(
        lambda conn: conn.execute(
            sa.update(samples)
            .where(samples.c.at == broken[1])
            .values(data=b"x\x9c\xab\xae\x05\x00\x01u\x00\xf9")  # zlib of {}
        )
    )
    assert len((await history(db, node, 600)).items) == 50
