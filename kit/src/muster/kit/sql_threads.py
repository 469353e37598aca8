"""Threads that run database work: the event loop hands callables over and gets answers back.

Writes that wait together are committed together, each in its own savepoint: one fsync serves
all of them, and nobody is answered before the commit. One hop to the thread and one back per
transaction; a thread keeps its connection.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, RootTransaction

from muster.contracts.errors import Unavailable
from muster.kit.sql_errors import explain, spoils

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], Any]

_MARKS: Final = "muster.marks"
_PATIENCE: Final = 10.0


def mark(conn: Connection, name: str) -> None:
    """Have the hooks called *name* run as soon as this transaction is committed."""
    conn.info.setdefault(_MARKS, set()).add(name)


@dataclass(slots=True, eq=False)
class _Job:
    work: Work
    done: asyncio.Future[Any]
    answer: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        if self.done.done():  # the one who asked was cancelled
            return
        if self.error is None:
            self.done.set_result(self.answer)
        else:
            self.done.set_exception(self.error)


class Threads:
    """A few threads, each with a connection of its own, that take work from one queue."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        name: str,
        *,
        size: int = 1,
        together: int = 1,
        committed: Callable[[set[str]], None] | None = None,
    ) -> None:
        """Start *size* threads; at most *together* jobs share a transaction.

        *committed* is called in the event loop with the marks that were set.
        """
        self._connect, self._name, self._together = connect, name, together
        self._committed = committed
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        self._ended = [self._loop.create_future() for _ in range(size)]
        for number, ended in enumerate(self._ended):
            threading.Thread(
                target=self._live, args=(ended,), name=f"{name}-db-{number}", daemon=True
            ).start()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run *work* in a transaction of a thread.

        If the waiting is cancelled, work that has begun is finished and committed all the same.
        """
        if self._closed:
            raise Unavailable(f"the database of {self._name} is closed")
        done: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Job(work, done))
        return await done

    async def close(self) -> None:
        """Finish what was handed over, then end the threads."""
        self._closed = True
        for _ in self._ended:
            self._queue.put(None)
        _, late = await asyncio.wait(self._ended, timeout=_PATIENCE)
        if late:
            log.error("%s: database work does not end: left behind", self._name)

    def _live(self, ended: asyncio.Future[None]) -> None:
        conn: Connection | None = None
        more = True
        while more:
            jobs, more = self._take()
            if jobs:
                conn = self._serve(conn, jobs)
        if conn is not None:
            conn.close()
        self._loop.call_soon_threadsafe(ended.set_result, None)

    def _take(self) -> tuple[list[_Job], bool]:
        """Return the jobs that wait, and whether others may follow."""
        jobs: list[_Job] = []
        job = self._queue.get()
        while job is not None:
            if not job.done.cancelled():
                jobs.append(job)
            if len(jobs) >= self._together:
                return jobs, True
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs, True
        return jobs, False

    def _serve(self, conn: Connection | None, jobs: list[_Job]) -> Connection | None:
        """Run *jobs* in one transaction; return the connection if it is still good."""
        marks: set[str] = set()
        try:
            conn, transaction = self._begin(conn)
            with transaction:
                if len(jobs) == 1:
                    jobs[0].answer = jobs[0].work(conn)
                else:
                    for job in jobs:
                        _nested(conn, job)
            marks = conn.info.pop(_MARKS, marks)
        except BaseException as error:  # noqa: BLE001 (it belongs to those who wait)
            for job in jobs:
                job.error = error
            conn = _after(error, conn, alone=len(jobs) == 1)
        for job in jobs:
            if job.error is not None:
                job.error = self._for_people(job.error)
        self._loop.call_soon_threadsafe(self._settle, jobs, marks)
        return conn

    def _begin(self, conn: Connection | None) -> tuple[Connection, RootTransaction]:
        """Begin a transaction; the server may have cut an idle connection, which is no trouble."""
        if conn is not None:
            try:
                return conn, conn.begin()
            except Exception as error:
                if not conn.invalidated:
                    raise
                log.info("%s: a new connection to the database: %s", self._name, error)
        conn = self._connect()
        return conn, conn.begin()

    def _for_people(self, error: BaseException) -> BaseException:
        if trouble := explain(error, self._name):
            log.error("%s: %s", trouble, error)
            trouble.__cause__ = error
            return trouble
        if isinstance(error, StopIteration):  # a future cannot carry it
            return RuntimeError(f"database work raised {error!r}")
        return error

    def _settle(self, jobs: list[_Job], marks: set[str]) -> None:
        for job in jobs:
            job.settle()
        if marks and self._committed:
            self._committed(marks)


def _nested(conn: Connection, job: _Job) -> None:
    # plain statements: SQLAlchemy's own savepoint costs more than most of what it guards
    driver = conn.connection.driver_connection
    assert driver is not None  # noqa: S101 (it is open: for the type checker)
    driver.execute("SAVEPOINT job")
    try:
        job.answer = job.work(conn)
    except Exception as error:  # noqa: BLE001 (it belongs to the one who waits)
        # raises when the whole transaction is gone (disk full, server lost): so do the others
        driver.execute("ROLLBACK TO SAVEPOINT job")
        job.error = error
    driver.execute("RELEASE SAVEPOINT job")


def _after(error: BaseException, conn: Connection | None, *, alone: bool) -> Connection | None:
    """Return *conn* if it can be used again after *error*, otherwise close it."""
    if conn is None:
        return None
    if alone and not spoils(error):
        conn.info.pop(_MARKS, None)
        return conn
    try:
        conn.invalidate()
        conn.close()
    except Exception:
        log.debug("closing a broken connection", exc_info=True)
    return None
