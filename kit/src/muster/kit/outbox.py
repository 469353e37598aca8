"""Facts that leave exactly when their cause is committed, and arrive exactly once in effect.

`put` writes a fact into the transaction of its effect; `relaying` publishes what was written, in
order, and deletes a row only after the broker has it on disk. On the other side, `first_time`
tells in the transaction of the effect whether a fact is new.

Several relays on one database do no harm: each publishes in order, so the stream has row *n*
before anybody publishes row *n + 1*, and the broker drops a message id that it has.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Protocol

import sqlalchemy as sa
from sqlalchemy import Column, Connection, LargeBinary, MetaData, String, Table, Text

from muster.contracts.base import Event, Fact
from muster.contracts.errors import MusterError, NoAnswer, TooMany, Unavailable
from muster.contracts.names import new_id
from muster.kit.sql import BigId, Database, UtcTime
from muster.kit.sql_threads import mark
from muster.kit.tasks import running

log = logging.getLogger(__name__)

KEEP: Final = timedelta(days=7)
"""How long the inbox remembers: longer than any stream keeps a message that was not taken."""

_MARK: Final = "outbox"
_PAGE: Final = 100
_PASSING: Final = (Unavailable, NoAnswer, TooMany)


class Publisher(Protocol):
    """The part of the bus that a relay needs."""

    async def publish(self, subject: str, body: bytes, *, msg_id: str) -> None:
        """Return when the broker has *body* on disk; raise `Unavailable` if it cannot."""


def outbox_table(metadata: MetaData) -> Table:
    """Add the table that `put` writes to."""
    return Table(
        "outbox",
        metadata,
        Column("seq", BigId, primary_key=True, autoincrement=True),
        Column("msg_id", String(26), nullable=False),
        Column("subject", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        # why the broker will never take it; such a row stays for people to look at
        Column("refused", Text, nullable=False, server_default=""),
    )


def inbox_table(metadata: MetaData) -> Table:
    """Add the table that `first_time` writes to."""
    return Table(
        "inbox",
        metadata,
        Column("consumer", String(64), primary_key=True),
        Column("msg_id", String(128), primary_key=True),
        Column("at", UtcTime, nullable=False, index=True),
    )


_OUT: Final = outbox_table(MetaData())
_IN: Final = inbox_table(MetaData())
_SEEN: Final = sa.text(
    "INSERT INTO inbox (consumer, msg_id, at) VALUES (:consumer, :msg_id, :at)"
    " ON CONFLICT DO NOTHING"
).bindparams(sa.bindparam("at", type_=UtcTime()))


def put(conn: Connection, event: Event[Fact], fact: Fact, *tokens: str) -> str:
    """Have *fact* told when, and only when, this transaction commits; return its message id."""
    if not event.durable:
        raise ValueError(f"{event.subject} is not durable: tell it instead")
    msg_id = new_id()
    body = fact.model_dump_json().encode()
    conn.execute(_OUT.insert().values(msg_id=msg_id, subject=event.at(*tokens), body=body))
    mark(conn, _MARK)
    return msg_id


def first_time(
    conn: Connection, consumer: str, msg_id: str, *, now: datetime | None = None
) -> bool:
    """Return whether *consumer* sees *msg_id* for the first time, and remember it."""
    moment = now or datetime.now(UTC)
    seen = conn.execute(_SEEN, {"consumer": consumer, "msg_id": msg_id, "at": moment})
    if seen.rowcount == 0:
        return False
    conn.execute(_IN.delete().where(_IN.c.at < moment - KEEP))
    return True


class _Row(NamedTuple):
    seq: int
    msg_id: str
    subject: str
    body: bytes


@asynccontextmanager
async def relaying(
    db: Database, bus: Publisher, *, every: float = 1.0, patience: float = 5.0
) -> AsyncGenerator[None]:
    """Publish what is in the outbox, beside the block.

    It looks at once when a `put` commits, and *every* second; while the broker is away it tries
    again, at last each *patience* seconds. What is left at the end is published next time.
    """
    news = asyncio.Event()
    forget = db.on_commit(_MARK, news.set)
    relay = _Relay(db, bus, news, every, patience)
    try:
        async with running(relay.run(), f"outbox of {db.name}"):
            yield
    finally:
        forget()


class _Relay:
    def __init__(
        self, db: Database, bus: Publisher, news: asyncio.Event, every: float, patience: float
    ) -> None:
        self._db, self._bus, self._news = db, bus, news
        self._every, self._patience = every, patience

    async def run(self) -> None:
        pause = self._every
        while True:
            try:
                await self._empty()
            except _PASSING as error:
                log.warning("%s: facts wait in the outbox: %s", self._db.name, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._patience)
            except Exception:
                log.exception("%s: the outbox waits %.0f s", self._db.name, self._patience)
                await asyncio.sleep(self._patience)
            else:
                pause = self._every
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._every):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _empty(self) -> None:
        while True:
            self._news.clear()
            rows = await self._db.read(_waiting)
            if not rows:
                return
            await self._publish(rows)

    async def _publish(self, rows: list[_Row]) -> None:
        gone: list[_Row] = []
        try:
            for row in rows:
                gone += await self._publish_one(row)
        finally:
            if gone:
                await self._db.write(lambda conn: _delete(conn, gone))

    async def _publish_one(self, row: _Row) -> list[_Row]:
        """Return the row if it is done with."""
        try:
            await self._bus.publish(row.subject, row.body, msg_id=row.msg_id)
        except _PASSING:
            raise
        except MusterError as error:
            log.exception("%s: the broker will not take %s", self._db.name, row.subject)
            reason = f"{error.code}: {error}"
            await self._db.write(lambda conn: _set_aside(conn, row, reason))
            return []
        return [row]


def _waiting(conn: Connection) -> list[_Row]:
    columns = (_OUT.c.seq, _OUT.c.msg_id, _OUT.c.subject, _OUT.c.body)
    asked = sa.select(*columns).where(_OUT.c.refused == "").order_by(_OUT.c.seq).limit(_PAGE)
    return [_Row(*row) for row in conn.execute(asked)]


def _these(rows: list[_Row]) -> sa.ColumnElement[bool]:
    # SQLite gives the number of a deleted last row to the next one: the number is not enough
    ids = [row.msg_id for row in rows]
    return sa.and_(_OUT.c.seq.in_([row.seq for row in rows]), _OUT.c.msg_id.in_(ids))


def _delete(conn: Connection, rows: list[_Row]) -> None:
    conn.execute(_OUT.delete().where(_these(rows)))


def _set_aside(conn: Connection, row: _Row, reason: str) -> None:
    conn.execute(_OUT.update().where(_these([row])).values(refused=reason))
