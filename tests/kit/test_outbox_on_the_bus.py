"""Facts go from one service's database to another's over a real broker, killed on the way."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection

from muster.contracts.names import new_node_id
from muster.contracts.nodes import NODE_JOINED, NodeJoined
from muster.kit.durable import ensure_streams
from muster.kit.identity.nkeys import Key
from muster.kit.outbox import first_time, put, relaying
from muster.kit.sql import Database, open_database
from muster.kit.testing import Broker
from tests.kit.shelf.tables import books, outbox

KEY = Key.generate("U").public


def joining(hostname: str) -> Callable[[Connection], str]:
    """Return the work of admitting a host."""
    node = new_node_id()
    fact = NodeJoined(id=node, hostname=hostname, public_key=KEY, at=datetime.now(UTC))
    return lambda conn: put(conn, NODE_JOINED, fact, node)


def admit(conn: Connection, msg_id: str, hostname: str) -> None:
    """Take the fact in, once."""
    if first_time(conn, "registry_joined", msg_id):
        conn.execute(books.insert().values(title=hostname))  # twice would break the constraint


async def arrived(target: Database, count: int) -> list[str]:
    """Wait until so many facts have taken effect, and return them in their order."""
    query = sa.select(books.c.title).order_by(books.c.id)
    async with asyncio.timeout(50):
        while len(found := await target.read(lambda conn: conn.scalars(query).all())) < count:
            await asyncio.sleep(0.02)
    return list(found)


async def emptied(source: Database) -> None:
    """Wait until nothing is in the outbox."""
    query = sa.select(sa.func.count()).select_from(outbox)
    async with asyncio.timeout(50):
        while await source.read(lambda conn: conn.scalar(query)):
            await asyncio.sleep(0.02)


async def test_every_fact_takes_effect_once(broker: Broker, tmp_path: Path) -> None:
    """The broker is killed in the middle: each fact arrives, in order, and works once."""
    wanted = [f"host {n}" for n in range(60)]
    async with (
        broker.connect("authority") as told_on,
        broker.connect("registry") as heard_on,
        open_database(f"sqlite:///{tmp_path}/from.db", migrations="tests.kit.shelf") as source,
        open_database(f"sqlite:///{tmp_path}/to.db", migrations="tests.kit.shelf") as target,
    ):
        await ensure_streams(told_on.client)

        async def take(fact: NodeJoined, msg_id: str) -> None:
            await target.write(partial(admit, msg_id=msg_id, hostname=fact.hostname))

        async with (
            relaying(source, told_on),
            heard_on.consuming(NODE_JOINED, take, durable="registry_joined"),
        ):
            for hostname in wanted[:30]:
                await source.write(joining(hostname))
            await arrived(target, 5)
            await asyncio.to_thread(broker.kill)
            for hostname in wanted[30:]:
                await source.write(joining(hostname))
            await asyncio.to_thread(broker.start)
            assert await arrived(target, len(wanted)) == wanted
            await emptied(source)
