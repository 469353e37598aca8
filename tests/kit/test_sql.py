"""Transactions in threads, on SQLite and on PostgreSQL."""

import asyncio
import sqlite3
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from muster.contracts.errors import Conflict, Unavailable
from muster.contracts.names import new_node_id
from muster.contracts.nodes import NodeState, Target
from muster.kit.paging import decode, page
from muster.kit.sql import Database, beyond, open_database
from muster.kit.sql_threads import mark
from tests.kit.shelf.tables import books, pages

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def titles(conn: Connection) -> list[str]:
    """Return every title."""
    return list(conn.execute(sa.select(books.c.title).order_by(books.c.id)).scalars())


def add(conn: Connection, title: str) -> int:
    """Add one book."""
    row = conn.execute(books.insert().values(title=title).returning(books.c.id)).scalar_one()
    return int(row)


def insert(conn: Connection, row: dict[str, object]) -> None:
    """Add a row."""
    conn.execute(books.insert().values(row))


def adding(title: str) -> Callable[[Connection], int]:
    """Return the work of adding one book."""
    return lambda conn: add(conn, title)


async def test_what_is_written_is_read(db: Database) -> None:
    """A write returns what the work returned, and reads see it at once."""
    key = await db.write(adding("Emma"))
    assert key == 1
    assert await db.read(titles) == ["Emma"]


async def test_an_error_undoes_the_whole_work(db: Database) -> None:
    """Half of a transaction is never kept, and the error arrives as itself."""

    def work(conn: Connection) -> None:
        add(conn, "Emma")
        raise Conflict("no")

    with pytest.raises(Conflict, match="no"):
        await db.write(work)
    assert await db.read(titles) == []


async def test_works_that_are_committed_together_do_not_share_their_failures(db: Database) -> None:
    """Of many writes at the same time, the bad ones fail alone."""

    async def one(number: int) -> int:
        def work(conn: Connection) -> int:
            add(conn, f"book {number}")
            if number % 3 == 0:
                add(conn, f"book {number}")  # twice: breaks the constraint
            if number % 5 == 0:
                raise Conflict(str(number))
            return number

        return await db.write(work)

    answers = await asyncio.gather(*(one(n) for n in range(60)), return_exceptions=True)
    good = [n for n in range(60) if n % 3 and n % 5]
    assert [a for a in answers if not isinstance(a, BaseException)] == good
    assert all(isinstance(answers[n], sa.exc.IntegrityError) for n in range(0, 60, 3))
    assert all(isinstance(answers[n], Conflict) for n in range(5, 60, 15))
    assert await db.read(titles) == [f"book {n}" for n in good]


async def test_read_modify_write_loses_nothing(database_url: str) -> None:
    """Writers are served one after another, even from two processes' databases."""

    def work(conn: Connection) -> None:
        number = conn.execute(sa.select(sa.func.count()).select_from(books)).scalar()
        add(conn, f"book {number}")

    async with (
        open_database(database_url, migrations="tests.kit.shelf") as one,
        open_database(database_url, migrations="tests.kit.shelf") as two,
    ):
        await asyncio.gather(*(db.write(work) for _ in range(20) for db in (one, two)))
        assert await one.read(titles) == [f"book {n}" for n in range(40)]


async def test_a_read_sees_one_moment(db: Database) -> None:
    """What is committed during a read does not show in it."""
    loop = asyncio.get_running_loop()

    def work(conn: Connection) -> list[list[str]]:
        before = titles(conn)
        asyncio.run_coroutine_threadsafe(db.write(adding("Emma")), loop).result(10)
        return [before, titles(conn)]

    assert await db.read(work) == [[], []]
    assert await db.read(titles) == ["Emma"]


async def test_a_read_cannot_write(db: Database) -> None:
    """A write that hides in a read is refused."""
    with pytest.raises(Unavailable, match="read-only"):
        await db.read(adding("Emma"))
    assert await db.read(titles) == []


async def test_a_cancelled_waiter_does_not_stop_the_others(db: Database) -> None:
    """The thread goes on when somebody does not wait any more."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await db.write(adding("Emma"))
    await db.write(adding("Persuasion"))
    assert "Persuasion" in await db.read(titles)


async def test_an_odd_error_reaches_the_one_who_waits(db: Database) -> None:
    """Even what a future cannot carry does not leave the caller waiting."""
    empty: list[int] = []
    with pytest.raises(RuntimeError, match="StopIteration"):
        await db.write(lambda _: next(iter(empty)))


async def test_closing_finishes_what_was_begun(database_url: str) -> None:
    """Writes that were handed over before the end are committed; later ones are refused."""
    async with open_database(database_url, migrations="tests.kit.shelf") as db:
        waiting = [asyncio.ensure_future(db.write(adding(f"{n}"))) for n in range(9)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    with pytest.raises(Unavailable, match="closed"):
        await db.write(titles)
    async with open_database(database_url, migrations="tests.kit.shelf") as again:
        assert len(await again.read(titles)) == 9


async def test_times_and_documents_come_back_as_they_were(db: Database) -> None:
    """Times are aware and in UTC, JSON and messages keep their types."""
    target = Target(id=new_node_id(), name="led", state=NodeState.ONLINE)
    shanghai = NOON.astimezone(timezone(timedelta(hours=8)))
    row = {"title": "Emma", "bought": shanghai, "about": {"a": [1, None]}, "target": target}
    await db.write(lambda conn: conn.execute(books.insert().values(row)))
    await db.write(lambda conn: add(conn, "empty"))
    columns = sa.select(books.c.bought, books.c.about, books.c.target)
    found = await db.read(lambda conn: conn.execute(columns.order_by(books.c.id)).all())
    assert [tuple(one) for one in found] == [(NOON, {"a": [1, None]}, target), (None, None, None)]
    assert found[0].bought.tzinfo is UTC
    later = sa.select(books.c.title).where(books.c.bought > NOON - timedelta(microseconds=1))
    assert await db.read(lambda conn: conn.execute(later).scalars().all()) == ["Emma"]


async def test_a_naive_time_is_a_mistake(db: Database) -> None:
    """Nobody can know which moment it means."""
    naive = NOON.replace(tzinfo=None)
    with pytest.raises(sa.exc.StatementError, match="no time zone"):
        await db.write(lambda c: c.execute(books.insert().values(title="a", bought=naive)))


async def test_pages_have_every_row_once(db: Database) -> None:
    """Keyset paging over two columns, while rows come and go."""
    for number in range(25):
        row = {"title": f"{number:02d}", "bought": NOON + timedelta(days=number // 10)}
        await db.write(partial(insert, row=row))
    columns = (books.c.bought, books.c.id)

    def ask(conn: Connection, cursor: str) -> tuple[list[str], str]:
        query = sa.select(books).order_by(*columns).limit(8)
        if cursor:
            query = query.where(beyond(columns, decode(cursor, datetime, int)))
        items, following = page(conn.execute(query).all(), 7, lambda row: (row.bought, row.id))
        return [row.title for row in items], following

    seen, cursor = await db.read(lambda c: ask(c, ""))
    await db.write(lambda c: c.execute(books.delete().where(books.c.title == "03")))
    while cursor:
        more, cursor = await db.read(partial(ask, cursor=cursor))
        seen += more
    assert seen == [f"{n:02d}" for n in range(25)]


async def test_foreign_keys_hold(db: Database) -> None:
    """A page of no book is refused; deleting a book deletes its pages."""
    with pytest.raises(sa.exc.IntegrityError):
        await db.write(lambda c: c.execute(pages.insert().values(book=9, number=1)))
    key = await db.write(adding("Emma"))
    await db.write(lambda c: c.execute(pages.insert().values(book=key, number=1)))
    await db.write(lambda c: c.execute(books.delete()))
    assert await db.read(lambda c: c.execute(sa.select(pages)).all()) == []


async def test_hooks_run_after_the_commit(db: Database) -> None:
    """A hook sees what was committed, and is not called for what was undone."""
    told = asyncio.Event()
    undo = db.on_commit("news", told.set)

    def fail(conn: Connection) -> None:
        mark(conn, "news")
        raise Conflict("no")

    with pytest.raises(Conflict):
        await db.write(fail)
    await db.write(adding("Emma"))
    assert not told.is_set()
    await db.write(lambda conn: mark(conn, "news"))
    async with asyncio.timeout(5):
        await told.wait()
    undo()


async def test_the_database_file_is_private(tmp_path: Path) -> None:
    """Nobody else on the machine can read it, nor its journal."""
    async with open_database(f"sqlite:///{tmp_path}/a.db", migrations="tests.kit.shelf") as db:
        await db.write(adding("Emma"))
        files = list(tmp_path.glob("a.db*"))
        assert len(files) >= 3
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_another_writer_is_named_as_the_trouble(tmp_path: Path) -> None:
    """A lock that another program holds ends in a clear refusal, and passes."""
    async with open_database(f"sqlite:///{tmp_path}/a.db", migrations="tests.kit.shelf") as db:
        await db.write(lambda conn: conn.exec_driver_sql("PRAGMA busy_timeout=50"))
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="shelf is locked by another process"):
            await db.write(adding("Emma"))
        other.execute("ROLLBACK")
        other.close()
        await db.write(adding("Emma"))


async def test_a_full_database_is_named_as_the_trouble(tmp_path: Path) -> None:
    """Writes that do not fit are refused, all who waited are told, and it goes on after."""
    async with open_database(f"sqlite:///{tmp_path}/a.db", migrations="tests.kit.shelf") as db:
        await db.write(lambda conn: add(conn, "first"))
        size = await db.read(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar())
        await db.write(lambda conn: conn.exec_driver_sql(f"PRAGMA max_page_count={size}"))

        def big(conn: Connection, number: int) -> None:
            conn.execute(books.insert().values(title=f"{number}", about="x" * 50_000))

        waiting = [db.write(partial(big, number=n)) for n in range(5)]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert {str(answer) for answer in answers} == {
            "the database of shelf is full: make room on its disk"
        }
        await db.write(lambda conn: conn.exec_driver_sql("PRAGMA max_page_count=1000000"))
        await db.write(lambda conn: big(conn, 9))
        assert await db.read(titles) == ["first", "9"]


async def test_a_lost_server_connection_heals(postgres_url: str) -> None:
    """Work that loses its connection is refused; one lost before is replaced unnoticed."""
    mine = "FROM pg_stat_activity WHERE application_name = 'muster-lost'"
    cut = f"SELECT pg_terminate_backend(pid) {mine} ORDER BY pid = pg_backend_pid()"
    async with open_database(f"{postgres_url}&schema=lost", migrations="tests.kit.shelf") as db:
        await db.write(adding("Emma"))
        for _ in range(6):
            await db.read(titles)
        with pytest.raises(Unavailable, match="database of shelf"):
            await db.write(lambda conn: conn.exec_driver_sql(cut).all())
        for _ in range(6):
            assert await db.read(titles) == ["Emma"]
        async with open_database(f"{postgres_url}&schema=o", migrations="tests.kit.shelf") as other:
            await other.read(lambda conn: conn.exec_driver_sql(cut).all())
        await db.write(adding("Persuasion"))
        assert await db.read(titles) == ["Emma", "Persuasion"]


@pytest.mark.parametrize(
    ("url", "error", "text"),
    [
        ("mysql://x/y", ValueError, "use sqlite or postgresql"),
        ("sqlite://", ValueError, "needs a file"),
        ("sqlite:////nowhere/at/all.db", Unavailable, "/nowhere/at/all.db cannot be opened"),
        ("postgresql://x@127.0.0.1:9/y?schema=a-b", ValueError, "cannot be a schema"),
        ("postgresql://x@127.0.0.1:9/y", Unavailable, "does not answer: is the server up"),
    ],
)
async def test_a_wrong_url_says_what_is_wrong(url: str, error: type, text: str) -> None:
    """Somebody who mistypes the URL is told so."""
    with pytest.raises(error, match=text):
        async with open_database(url, migrations="tests.kit.shelf"):
            pass
