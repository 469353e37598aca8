"""The node's own record of the commands that it took: append-only, each bound to all before it.

It is written in the transaction of the journal that lets a command begin, and can be fetched by a
signed order; so the server's audit and the node's record are two that have to agree.
"""

import sqlite3
from datetime import UTC, datetime
from typing import Any, Final

from muster.contracts.records import PAGE, NodeRecord, NodeRecords
from muster.kit.linking import GENESIS, link

KEPT: Final = 100_000
"""The oldest of more go; what is left still follows from one to the next."""
TABLE: Final = """
create table if not exists records (
    seq integer primary key,
    at text not null,
    run text not null,
    command text not null,
    state text not null,
    hash text not null
) strict;
"""


def append(conn: sqlite3.Connection, run: str, command: str, state: str) -> None:
    """Write down that a command was taken, and with what it began."""
    last = conn.execute("select seq, hash from records order by seq desc limit 1").fetchone()
    seq, previous = last or (0, GENESIS)
    row: dict[str, Any] = {
        "seq": seq + 1,
        "at": datetime.now(UTC),
        "run": run,
        "command": command,
        "state": state,
    }
    hash_ = link(previous, row)
    values = (row["seq"], row["at"].isoformat(), run, command, state, hash_)
    conn.execute("insert into records values (?, ?, ?, ?, ?, ?)", values)
    conn.execute("delete from records where seq <= ?", (row["seq"] - KEPT,))


def page(conn: sqlite3.Connection, after: int) -> NodeRecords:
    """Return the records that follow number *after*."""
    query = (
        "select seq, at, run, command, state, hash from records where seq > ? order by seq limit ?"
    )
    rows = conn.execute(query, (after, PAGE)).fetchall()
    last = conn.execute("select coalesce(max(seq), 0) from records").fetchone()[0]
    names = ("seq", "at", "run", "command", "state", "hash")
    items = [NodeRecord.model_validate(dict(zip(names, row, strict=True))) for row in rows]
    return NodeRecords(items=items, last=last)
