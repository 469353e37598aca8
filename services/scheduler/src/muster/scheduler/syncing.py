"""What an agent that comes back is told: the commands it missed, and what it has lost.

Both sides compare. What the agent does not know is sent; what we believe to be on the agent
and is not in its journal any more is lost.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from muster.contracts.runs import RunEvent, State, Sync, SyncAnswer
from muster.scheduler import store
from muster.scheduler.tables import targets

ROOM: Final = 600_000
"""Bytes of commands in one answer; base64 makes a third more of them."""

SETTLING: Final = timedelta(seconds=30)
"""How old a confirmation must be before its absence from a journal means a loss."""


def sync(
    conn: Connection, node: str, ask: Sync, now: datetime
) -> tuple[SyncAnswer, list[RunEvent]]:
    """Return what *node* gets, and the events of what changed by it."""
    known = {entry.run for entry in ask.known}
    rows = store.open_targets(conn, targets.c.node == node, limit=1000)
    missing = [row for row in rows if row.run not in known and row.state != State.WAITING.value]
    there = [row for row in missing if row.state not in store.NOT_THERE]
    gone = [row for row in there if row.changed < now - SETTLING]
    late = [row for row in missing if row not in there and row.expires <= now]
    send = [row for row in missing if row not in there and row.expires > now]
    sent, more = _fitting(send)
    cancels = [row.cancel for row in rows if row.cancel is not None]
    events = [
        *store.settle(conn, gone, State.LOST, "the node has no record of it any more", now),
        *store.settle(conn, late, State.EXPIRED, "the node came back too late", now),
        *store.settle(conn, sent, State.SENT, "", now),
    ]
    commands = [row.envelope + row.args for row in sent]
    return SyncAnswer(commands=[*commands, *cancels][:2000], more=more), events


def waiting(conn: Connection, node: str, ask: Sync, now: datetime) -> list[Any]:
    """Return what *node* would get that may have been signed long ago, and is not there yet."""
    known = {entry.run for entry in ask.known}
    rows = store.open_targets(conn, targets.c.node == node, limit=1000, lock=False)
    return [
        row
        for row in rows
        if row.run not in known
        and row.expires > now
        and (
            row.state == State.QUEUED.value
            or (row.state in store.NOT_THERE and row.changed < now - SETTLING)
        )
    ]


def _fitting(rows: Sequence[Any]) -> tuple[list[Any], bool]:
    """Return the first rows that fit in one answer, and whether some did not."""
    fitting: list[Any] = []
    size = 0
    for row in rows:
        size += len(row.envelope) + len(row.args)
        if fitting and size > ROOM:
            return fitting, True
        fitting.append(row)
    return fitting, False
