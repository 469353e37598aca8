"""Buys books until it is killed; prints each title as soon as it is told that it is safe."""

import asyncio
import sys

from sqlalchemy import Connection

from muster.kit.outbox import put
from muster.kit.sql import Database, open_database
from tests.kit.shelf.facts import BOUGHT, Bought
from tests.kit.shelf.tables import books


async def buy(db: Database, title: str) -> None:
    """Buy one book."""

    def work(conn: Connection) -> None:
        conn.execute(books.insert().values(title=title))
        put(conn, BOUGHT, Bought(title=title), title)

    await db.write(work)
    sys.stdout.write(f"{title}\n")
    sys.stdout.flush()


async def main(url: str) -> None:
    """Buy three at a time."""
    async with open_database(url, migrations="tests.kit.shelf") as db:
        for number in range(10**9):
            await asyncio.gather(*(buy(db, f"b{number}-{who}") for who in "xyz"))


asyncio.run(main(sys.argv[1]))
