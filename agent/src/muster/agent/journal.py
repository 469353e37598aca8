"""The journal: what was ordered and what became of it, on disk before anything happens.

It is why a command is never executed twice: an entry is committed (SQLite, WAL, fsync) before
the command is started, and stays until long after no envelope for it can be valid any more.
It is also the durable record of a result until the scheduler has committed it.

Orders that arrive together share one commit.
"""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import Field

from muster.agent import records
from muster.contracts.base import Message
from muster.contracts.errors import Unavailable
from muster.contracts.names import Id
from muster.contracts.records import NodeRecords
from muster.contracts.runs import Journalled, State
from muster.kit.files import touch_private

log = logging.getLogger(__name__)

REMEMBERED: Final = 8 * 86400.0
"""Seconds after a command's expiry for which its run is remembered."""
LEAST: Final = 10_000
"""So many entries are kept whatever the clock says: a clock that jumps must not open the door."""

_LAZY: Final = 0.1
_TABLE: Final = """
create table if not exists runs (
    number integer primary key,
    run text not null unique,
    command text not null,
    state text not null,
    reason text not null default '',
    boot text not null,
    cap integer not null,
    expires real not null,
    ended text not null default '',
    acked integer not null default 0
) strict;
create index if not exists not_acked on runs (number) where acked = 0;
"""
_COLUMNS: Final = "run, command, state, reason, boot, cap, expires, ended, acked"

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class Ended(Message):
    """How a command ended; also the content of ``exit.json``."""

    exit: int | None = None
    signal: int | None = None
    why: Literal["", "cancelled", "timed_out", "interrupted", "refused"] = ""
    reason: str = Field(default="", max_length=1000)
    started: float | None = Field(default=None, ge=0, le=1e11)
    finished: float = Field(ge=0, le=1e11)
    stdout: int = Field(default=0, ge=0)
    stderr: int = Field(default=0, ge=0)

    @property
    def state(self) -> State:
        """The final state that this is."""
        if self.why:
            return State(self.why)
        return State.DONE if self.exit == 0 else State.FAILED


class Entry(Message):
    """One run in the journal."""

    run: Id
    command: Id
    state: State
    reason: str = ""
    boot: str
    cap: int = 0
    expires: float
    ended: Ended | None = None
    acked: bool = False


class Journal:
    """All entries; every method returns after its commit, or raises `Unavailable`."""

    def __init__(self, path: Path) -> None:
        """Keep the entries in *path*."""
        self.trouble = ""
        """Why nothing can be written at the moment."""
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._conn: sqlite3.Connection | None = None
        self._waiting: deque[tuple[Work[Any], asyncio.Future[Any]]] = deque()
        self._lazy: list[Work[Any]] = []
        self._busy = False

    async def __aenter__(self) -> Self:
        """Open it; a journal that cannot be opened is tried again with every write."""
        with contextlib.suppress(Unavailable):
            await self._do(lambda _: None)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what was put off, and close."""
        lazy, self._lazy = self._lazy, []
        self._thread.submit(self._commit, lazy)
        self._thread.submit(self._close)
        self._thread.shutdown(wait=True)

    async def begin(self, entry: Entry) -> Entry | None:
        """Write a new entry down; return the one that the run has already, if it has."""

        def work(conn: sqlite3.Connection) -> Entry | None:
            known = _get(conn, entry.run)
            if known is None:
                _insert(conn, entry)
                records.append(conn, entry.run, entry.command, entry.state.value)
            return known

        return await self._do(work)

    async def finish(self, run: str, state: State, ended: Ended) -> None:
        """Write down how a run ended."""
        await self._do(lambda conn: _finish(conn, run, state, ended))

    def acknowledged(self, run: str, state: State, ended: Ended) -> None:
        """Note, soon, that the scheduler knows the end; if it is lost, it is only told again."""

        def work(conn: sqlite3.Connection) -> None:
            _finish(conn, run, state, ended)
            conn.execute("update runs set acked = 1 where run = ?", (run,))

        if not self._lazy:
            asyncio.get_running_loop().call_later(_LAZY, self._wake)
        self._lazy.append(work)

    async def get(self, run: str) -> Entry | None:
        """Return one entry."""
        return await self._do(lambda conn: _get(conn, run))

    async def not_acked(self, limit: int = 100_000) -> list[Entry]:
        """Return what the scheduler may not know the end of, oldest first."""
        return await self._do(
            lambda conn: [
                _entry(row)
                for row in conn.execute(
                    f"select {_COLUMNS} from runs where acked = 0 order by number limit ?",  # noqa: S608
                    (limit,),
                )
            ]
        )

    async def records(self, after: int) -> NodeRecords:
        """Return what was taken, from number *after* on."""
        return await self._do(lambda conn: records.page(conn, after))

    async def known(self) -> list[Journalled]:
        """Return what a sync tells, at most as much as it may hold; the newest win."""
        return [
            Journalled(run=entry.run, state=entry.state)
            for entry in (await self.not_acked())[-10_000:]
        ]

    async def forget(self, now: float | None = None) -> int:
        """Drop entries that nobody can ever ask for again; return how many."""
        before = (time.time() if now is None else now) - REMEMBERED

        def work(conn: sqlite3.Connection) -> int:
            return conn.execute(
                "delete from runs where acked = 1 and expires < ? and number <= "
                "(select max(number) from runs) - ?",
                (before, LEAST),
            ).rowcount

        return await self._do(work)

    async def _do(self, work: Work[T]) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        self._wake()
        return await future

    def _wake(self) -> None:
        if self._busy or not (self._waiting or self._lazy):
            return
        self._busy = True
        batch, self._waiting = list(self._waiting), deque()
        lazy, self._lazy = self._lazy, []
        loop = asyncio.get_running_loop()

        def commit() -> None:
            result = self._commit([*lazy, *(work for work, _ in batch)])
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle, result)

        def settle(result: list[Any] | Unavailable) -> None:
            self._busy = False
            self.trouble = str(result) if isinstance(result, Unavailable) else ""
            for number, (_, future) in enumerate(batch, len(lazy)):
                if future.done():
                    continue
                if isinstance(result, Unavailable):
                    future.set_exception(result)
                else:
                    future.set_result(result[number])
            self._wake()

        self._thread.submit(commit)

    def _commit(self, works: list[Work[Any]]) -> list[Any] | Unavailable:
        """Do *works* in one transaction, in the journal's own thread."""
        try:
            conn = self._open()
            conn.execute("begin immediate")
            try:
                results = [work(conn) for work in works]
            except BaseException:
                conn.execute("rollback")
                raise
            conn.execute("commit")
        except (sqlite3.Error, OSError, ValueError) as error:
            log.error("the journal cannot be written: %s", error)  # noqa: TRY400
            self._close()
            return Unavailable(f"the journal cannot be written: {error}")
        return results

    def _open(self) -> sqlite3.Connection:
        if self._conn is None:
            touch_private(self._path)
            conn = sqlite3.connect(self._path, isolation_level=None, timeout=5)
            self._conn = conn
            conn.execute("pragma journal_mode = wal")
            conn.execute("pragma synchronous = full")
            conn.executescript(_TABLE + records.TABLE)
        return self._conn

    def _close(self) -> None:
        if self._conn is not None:
            with contextlib.suppress(sqlite3.Error):
                self._conn.close()
            self._conn = None


def _insert(conn: sqlite3.Connection, entry: Entry) -> None:
    ended = entry.ended.model_dump_json() if entry.ended else ""
    conn.execute(
        f"insert into runs ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            entry.run,
            entry.command,
            entry.state.value,
            entry.reason,
            entry.boot,
            entry.cap,
            entry.expires,
            ended,
            int(entry.acked),
        ),
    )


def _finish(conn: sqlite3.Connection, run: str, state: State, ended: Ended) -> None:
    conn.execute(
        "update runs set state = ?, reason = ?, ended = ? where run = ?",
        (state.value, ended.reason, ended.model_dump_json(), run),
    )


def _get(conn: sqlite3.Connection, run: str) -> Entry | None:
    row = conn.execute(f"select {_COLUMNS} from runs where run = ?", (run,)).fetchone()  # noqa: S608
    return _entry(row) if row else None


def _entry(row: tuple[Any, ...]) -> Entry:
    run, command, state, reason, boot, cap, expires, ended, acked = row
    return Entry(
        run=run,
        command=command,
        state=State(state),
        reason=reason,
        boot=boot,
        cap=cap,
        expires=expires,
        ended=Ended.model_validate_json(ended) if ended else None,
        acked=bool(acked),
    )
