"""A service's own database: SQLite by default, PostgreSQL by URL; plain SQLAlchemy Core.

Stores hand functions of a `Connection` to `Database.write` and `Database.read`; each is one
transaction in a thread. Writers are served one after another on both databases (PostgreSQL: an
advisory lock per schema), so read-modify-write needs no further care. A read sees one snapshot.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, MetaData, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import URL, Dialect, make_url
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeDecorator

from muster.contracts.base import Message
from muster.contracts.errors import Unavailable
from muster.kit.files import touch_private
from muster.kit.migrations import bring_to_head
from muster.kit.sql_errors import explain
from muster.kit.sql_threads import Threads

T = TypeVar("T")
M = TypeVar("M", bound=Message)

Json: Final = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""A column of anything that JSON can hold."""

BigId: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""An integer primary key that counts up by itself on both databases."""

_READERS: Final = 3
_TOGETHER: Final = 64
_BEGIN: Final = "muster_begin"
_PATIENCE: Final = 5000
_PRAGMAS: Final = (
    f"busy_timeout={_PATIENCE}",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "cache_size=-16384",
    "temp_store=MEMORY",
)


class UtcTime(TypeDecorator[datetime]):
    """A moment: aware on both sides of the column, stored in UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware time into UTC; a naive one is a mistake."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class Document(TypeDecorator[M], Generic[M]):
    """A message of the contracts, kept as its JSON text: ``Column("inv", Document(Inventory))``."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, kind: type[M]) -> None:
        """Keep messages of *kind*."""
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: M | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write the message."""
        return None if value is None else value.model_dump_json()

    def process_result_value(self, value: Any | None, dialect: Dialect) -> M | None:  # noqa: ARG002
        """Read the message; unknown fields of a newer version are ignored."""
        return None if value is None else self.kind.model_validate_json(value)


def new_metadata() -> MetaData:
    """Return metadata whose constraints have predictable names, as migrations need them."""
    return MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def beyond(
    columns: Sequence[sa.ColumnElement[Any]], values: Sequence[Any], *, down: bool = False
) -> sa.ColumnElement[bool]:
    """Return the condition for the rows after the cursor's *values* (*down*: before them)."""
    here = sa.tuple_(*columns)
    there = sa.tuple_(
        *(sa.bindparam(None, v, type_=c.type) for c, v in zip(columns, values, strict=True))
    )
    return here < there if down else here > there


class Database:
    """Runs transactions in threads; see the module."""

    def __init__(self, engine: Engine, name: str, *, readers: int = _READERS) -> None:
        """Work on *engine* for the service called *name*; a loop must be running."""
        self.name = name
        self.dialect = engine.dialect.name
        self._engine = engine
        self._hooks: dict[str, list[Callable[[], None]]] = {}
        self._writer = Threads(
            lambda: _opened(engine, writer=True),
            name,
            together=_TOGETHER,
            committed=self._committed,
        )
        self._readers = Threads(lambda: _opened(engine, writer=False), name, size=readers)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run *work* in a transaction; what it returns is on the disk when this returns.

        Raises `Unavailable` if the database cannot do it now; whatever *work* raises undoes it.
        """
        return await self._writer.run(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run *work* on a snapshot that it cannot change."""
        return await self._readers.run(work)

    async def check(self) -> None:
        """Raise `Unavailable` unless the database answers, for a readiness check."""
        await self.read(lambda conn: conn.execute(sa.text("SELECT 1")).scalar())

    def on_commit(self, name: str, hook: Callable[[], None]) -> Callable[[], None]:
        """Call *hook* in the event loop after each commit marked *name*; returns the undoing."""
        hooks = self._hooks.setdefault(name, [])
        hooks.append(hook)
        return lambda: hooks.remove(hook)

    def _committed(self, marks: set[str]) -> None:
        for name in marks:
            for hook in self._hooks.get(name, ()):
                hook()

    async def close(self) -> None:
        """Finish what was begun, then let go of the database."""
        await self._writer.close()
        await self._readers.close()
        self._engine.dispose()


@asynccontextmanager
async def open_database(
    url: str, *, migrations: str, readers: int = _READERS
) -> AsyncGenerator[Database]:
    """Open the database at *url*, brought up to date with *migrations*.

    *migrations* is the service's package (``muster.registry``) whose ``migrations`` folder is
    meant. Its last part names the service, and on PostgreSQL the schema, unless the URL says
    ``?schema=…``.
    """
    name = migrations.rpartition(".")[2]
    engine = await asyncio.to_thread(_prepared, url, migrations, name)
    database = Database(engine, name, readers=readers)
    try:
        yield database
    finally:
        await database.close()


def _prepared(url: str, migrations: str, name: str) -> Engine:
    try:
        engine = create_engine(url, schema=name)
        bring_to_head(engine, migrations)
    except sa.exc.SQLAlchemyError as error:
        raise explain(error, name) or error from error
    return engine


def create_engine(url: str, *, schema: str) -> Engine:
    """Return an engine as this module needs it; *schema* is PostgreSQL's, if *url* has none."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    if parsed.get_backend_name() in {"postgresql", "postgres"}:
        return _postgres(parsed, schema)
    raise ValueError(f"the database URL begins with {parsed.drivername}: use sqlite or postgresql")


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ValueError("the database URL needs a file: sqlite:////path/to/file.db")
    try:
        touch_private(Path(url.database))
    except OSError as error:
        raise Unavailable(f"{url.database} cannot be opened: {error.strerror}") from error
    engine = sa.create_engine(url, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # BEGIN is ours, not the driver's
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        _driver(conn).execute(conn.get_execution_options().get(_BEGIN, "BEGIN")).close()

    return engine


def _postgres(url: URL, schema: str) -> Engine:
    wanted = url.query.get("schema", schema)
    if not isinstance(wanted, str) or not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", wanted):
        raise ValueError(f"{wanted!r} cannot be a schema: use a-z, 0-9 and _")
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg").difference_update_query(["schema"]),
        poolclass=NullPool,
        connect_args={
            "options": f"-c search_path={wanted} -c lock_timeout={_PATIENCE}"
            " -c idle_in_transaction_session_timeout=60000",
            "connect_timeout": 5,
            "application_name": f"muster-{wanted}",
        },
    )

    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        if statement := conn.get_execution_options().get(_BEGIN):
            conn.exec_driver_sql(statement)

    return engine


def _opened(engine: Engine, *, writer: bool) -> Connection:
    conn = engine.connect()
    if engine.dialect.name == "sqlite":
        if not writer:
            _driver(conn).execute("PRAGMA query_only=ON").close()
        return conn.execution_options(**{_BEGIN: "BEGIN IMMEDIATE" if writer else "BEGIN"})
    if writer:
        lock = "SELECT pg_advisory_xact_lock(hashtext('muster ' || current_schema()))"
        return conn.execution_options(**{_BEGIN: lock})
    return conn.execution_options(
        isolation_level="REPEATABLE READ",
        postgresql_readonly=True,
        **{_BEGIN: "SELECT 1"},  # finds out whether the connection still lives
    )


def _driver(conn: Connection) -> Any:
    return conn.connection.driver_connection
