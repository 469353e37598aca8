"""Facts leave when their cause is committed, in order, and none is lost."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from muster.contracts.errors import Conflict, TooLarge, Unavailable
from muster.kit.outbox import first_time, put, relaying
from muster.kit.sql import Database, open_database
from tests.kit.conftest import ROOT
from tests.kit.shelf.facts import BOUGHT, RUMOUR, Bought
from tests.kit.shelf.tables import books, inbox, outbox

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Stream:
    """Keeps what is published, each message id once, as a stream of the broker does."""

    def __init__(self) -> None:
        """Begin empty and in good health."""
        self.kept: dict[str, tuple[str, bytes]] = {}
        self.published = 0
        self.trouble: Exception | None = None
        self.acked: Callable[[], Awaitable[None]] | None = None

    async def publish(self, subject: str, body: bytes, *, msg_id: str) -> None:
        """Keep a message, or be in trouble."""
        await asyncio.sleep(0)
        self.published += 1
        if self.trouble:
            raise self.trouble
        self.kept.setdefault(msg_id, (subject, body))
        if self.acked:
            await self.acked()

    @property
    def titles(self) -> list[str]:
        """The titles of the books, in the order of the stream."""
        return [Bought.model_validate_json(body).title for _, body in self.kept.values()]


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(20):
        while not await true():
            await asyncio.sleep(0.01)


async def empty(db: Database) -> bool:
    """Whether nothing waits in the outbox."""
    return await waiting(db) == 0


async def waiting(db: Database) -> int:
    """How many facts are in the outbox."""
    count = sa.select(sa.func.count()).select_from(outbox)
    return await db.read(lambda conn: conn.execute(count).scalar() or 0)


def buy(title: str) -> Callable[[Connection], str]:
    """Return the work of buying one book."""

    def work(conn: Connection) -> str:
        conn.execute(books.insert().values(title=title))
        return put(conn, BOUGHT, Bought(title=title), "x1")

    return work


async def test_a_fact_leaves_at_once_and_its_row_goes(db: Database) -> None:
    """A commit wakes the relay: nobody waits for its next round."""
    stream = Stream()
    async with relaying(db, stream, every=3600):
        await asyncio.sleep(0.05)  # the first look is over
        msg_id = await db.write(buy("Emma"))
        await until(lambda: empty(db))
    assert stream.kept == {msg_id: ("muster.fact.shelf.book.x1.bought", b'{"title":"Emma"}')}


async def test_what_was_left_is_published_at_the_start(db: Database) -> None:
    """Facts survive the time without a relay, and keep their order."""
    wanted = [f"book {n}" for n in range(250)]
    for title in wanted:
        await db.write(buy(title))
    stream = Stream()
    async with relaying(db, stream, every=3600):
        await until(lambda: empty(db))
    assert stream.titles == wanted


async def test_an_undone_effect_tells_nothing(db: Database) -> None:
    """A fact shares the fate of its transaction."""

    def work(conn: Connection) -> None:
        buy("Emma")(conn)
        raise Conflict("no")

    stream = Stream()
    async with relaying(db, stream, every=0.01):
        with pytest.raises(Conflict):
            await db.write(work)
        await db.write(buy("Persuasion"))
        await until(lambda: empty(db))
    assert stream.titles == ["Persuasion"]


async def test_while_the_bus_is_away_facts_wait(db: Database) -> None:
    """Trouble with the bus loses nothing and changes no order."""
    stream = Stream()
    stream.trouble = Unavailable("the broker is away")

    async def tried() -> bool:
        return stream.published >= 3

    async with relaying(db, stream, every=0.01, patience=0.05):
        for title in ("a", "b", "c"):
            await db.write(buy(title))
        await until(tried)
        assert await waiting(db) == 3
        stream.trouble = None
        await until(lambda: empty(db))
    assert stream.titles == ["a", "b", "c"]


async def test_a_surprise_in_the_bus_loses_nothing(db: Database) -> None:
    """An error that nobody foresaw is retried as well."""
    stream = Stream()
    stream.trouble = ZeroDivisionError()

    async def tried() -> bool:
        return stream.published >= 2

    async with relaying(db, stream, every=0.01, patience=0.02):
        await db.write(buy("a"))
        await until(tried)
        stream.trouble = None
        await until(lambda: empty(db))
    assert stream.titles == ["a"]


async def test_what_the_broker_will_never_take_holds_up_nobody(db: Database) -> None:
    """A fact that is too large stays, with the reason, and the others go on."""
    stream = Stream()
    stream.trouble = TooLarge("it does not fit in one message")

    async def tried() -> bool:
        return stream.published >= 1

    async with relaying(db, stream, every=0.01):
        await db.write(buy("too large"))
        await until(tried)
        stream.trouble = None
        await db.write(buy("small"))
        await until(lambda: _is_one(db))
    assert stream.titles == ["small"]
    reasons = await db.read(lambda conn: conn.execute(sa.select(outbox.c.refused)).scalars().all())
    assert reasons == ["too_large: it does not fit in one message"]


async def _is_one(db: Database) -> bool:
    return await waiting(db) == 1


async def test_two_relays_keep_the_order_and_lose_nothing(database_url: str) -> None:
    """Two instances of a service on one database: the stream has each fact once, in order."""
    stream = Stream()
    wanted = [f"book {n}" for n in range(120)]
    async with (
        open_database(database_url, migrations="tests.kit.shelf") as one,
        open_database(database_url, migrations="tests.kit.shelf") as two,
        relaying(one, stream, every=0.01),
        relaying(two, stream, every=0.01),
    ):
        for number, title in enumerate(wanted):
            await (one if number % 3 else two).write(buy(title))
        await until(lambda: empty(one))
    assert stream.titles == wanted


async def test_a_fact_committed_during_the_deletion_is_not_deleted_with_it(db: Database) -> None:
    """SQLite uses the number of a deleted row again; the new row must stay."""
    stream = Stream()

    async def delete_by_another_relay() -> None:
        stream.acked = None
        await db.write(lambda conn: conn.execute(outbox.delete()))
        await db.write(buy("second"))

    stream.acked = delete_by_another_relay
    await db.write(buy("first"))
    async with relaying(db, stream, every=0.01):
        await until(lambda: empty(db))
    assert stream.titles == ["first", "second"]


async def test_only_durable_facts_go_through_the_outbox(db: Database) -> None:
    """A lossy event has no stream that would take it."""
    with pytest.raises(ValueError, match="not durable"):
        await db.write(lambda conn: put(conn, RUMOUR, Bought(title="Emma")))


async def test_a_message_is_new_once_for_each_consumer(db: Database) -> None:
    """A message that comes again is seen through; its effect's rollback forgets it."""

    async def new(consumer: str, msg_id: str) -> bool:
        return await db.write(lambda conn: first_time(conn, consumer, msg_id))

    assert [await new("a", "1"), await new("a", "1"), await new("b", "1")] == [True, False, True]

    def fail(conn: Connection) -> None:
        first_time(conn, "a", "2")
        raise Conflict("no")

    with pytest.raises(Conflict):
        await db.write(fail)
    assert await new("a", "2")


async def test_the_inbox_forgets_after_a_week(db: Database) -> None:
    """It does not grow for ever."""
    for days, msg_id in ((0, "old"), (6, "younger"), (8, "new")):
        now = NOON + timedelta(days=days)
        await db.write(partial(first_time, consumer="a", msg_id=msg_id, now=now))
    ids = sa.select(inbox.c.msg_id).order_by(inbox.c.at)
    assert await db.read(lambda c: c.execute(ids).scalars().all()) == ["younger", "new"]


def buy_until_killed(url: str, wanted: int) -> set[str]:
    """Run a process that buys, kill it, and return the titles that it called safe."""
    command = [sys.executable, "-m", "tests.kit.shelf.buyer", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT)}) as it:
        assert it.stdout is not None
        told = [it.stdout.readline() for _ in range(wanted)]
        it.kill()
        told += it.stdout.read().splitlines(keepends=True)
    return {line.decode().strip() for line in told if line.endswith(b"\n")}


async def test_kill_9_loses_nothing_that_was_acknowledged(database_url: str) -> None:
    """Each acknowledged book is there with its fact, and no fact is there without its book."""
    safe = await asyncio.to_thread(buy_until_killed, database_url, 40)
    assert len(safe) >= 40
    stream = Stream()
    async with open_database(database_url, migrations="tests.kit.shelf") as db:
        query = sa.select(books.c.title)
        kept = await db.read(lambda conn: conn.execute(query).scalars().all())
        async with relaying(db, stream):
            await until(lambda: empty(db))
    assert safe <= set(kept)
    assert sorted(stream.titles) == sorted(kept)
