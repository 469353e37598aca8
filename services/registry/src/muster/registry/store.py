"""The registry's SQL: each function is a part of one transaction that the caller opens."""

import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from muster.contracts.nodes import Inventory, Metrics, NodeState, Sample
from muster.kit import wire
from muster.registry.picture import Entry
from muster.registry.tables import nodes, samples


def load(conn: Connection) -> list[Entry]:
    """Return every node."""
    return [_entry(row) for row in conn.execute(select(nodes))]


def _entry(row: Any) -> Entry:
    return Entry(
        id=row.id,
        name=row.name,
        public_key=row.public_key,
        joined=row.joined,
        state=NodeState(row.state),
        state_since=row.state_since,
        groups=row.groups,
        tags=row.tags,
        seen=row.seen,
        reason=row.reason,
        version=row.version,
        inventory=wire.unpack(Inventory, row.inventory.encode()) if row.inventory else None,
        metrics=wire.unpack(Metrics, row.metrics.encode()) if row.metrics else None,
        metrics_at=row.metrics_at,
    )


def names(conn: Connection) -> set[str]:
    """Return every name that is taken."""
    return set(conn.execute(select(nodes.c.name)).scalars())


def known(conn: Connection, node: str) -> bool:
    """Whether a node is in the table."""
    return conn.execute(select(nodes.c.id).where(nodes.c.id == node)).first() is not None


def save(conn: Connection, entries: Iterable[Entry]) -> None:
    """Write what changed of known nodes, or keep new ones."""
    rows = [row_of(entry) for entry in entries]
    if not rows:
        return
    make = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    statement = make(nodes)
    values = {name: statement.excluded[name] for name in rows[0] if name != "id"}
    conn.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values), rows)


def row_of(entry: Entry) -> dict[str, Any]:
    """Return what the database keeps of a node."""
    return {
        "id": entry.id,
        "name": entry.name,
        "public_key": entry.public_key,
        "groups": entry.groups,
        "tags": entry.tags,
        "joined": entry.joined,
        "state": entry.state.value,
        "state_since": entry.state_since,
        "seen": entry.seen,
        "reason": entry.reason,
        "version": entry.version,
        "inventory": wire.pack(entry.inventory).decode() if entry.inventory else None,
        "metrics": wire.pack(entry.metrics).decode() if entry.metrics else None,
        "metrics_at": entry.metrics_at,
    }


def rename(conn: Connection, node: str, name: str) -> None:
    """Write a new name; it is unique, so a clash raises."""
    conn.execute(update(nodes).where(nodes.c.id == node).values(name=name))


def put_samples(conn: Connection, rows: Sequence[tuple[str, float, bytes]]) -> None:
    """Keep samples: (node, Unix time, packed metrics)."""
    if rows:
        conn.execute(
            insert(samples), [{"node": node, "at": at, "data": data} for node, at, data in rows]
        )


def pack_sample(metrics: Metrics) -> bytes:
    """Return *metrics* as they are kept."""
    return zlib.compress(wire.pack(metrics), 1)


def prune(conn: Connection, before: float) -> int:
    """Delete samples that are older than *before*."""
    return conn.execute(delete(samples).where(samples.c.at < before)).rowcount


def read_samples(
    conn: Connection, node: str, start: float, end: float, points: int
) -> list[Sample]:
    """Return at most *points* samples: the last of each of as many equal spans of time."""
    where = (samples.c.node == node, samples.c.at >= start, samples.c.at <= end)
    count = conn.execute(select(func.count()).where(*where)).scalar_one()
    query = select(samples.c.at, samples.c.data).where(*where).order_by(samples.c.at)
    if count > points:
        span = max((end - start) / points, 1e-6)
        times = conn.execute(select(samples.c.at).where(*where).order_by(samples.c.at)).scalars()
        last = {int((at - start) / span): at for at in times}
        chosen = sorted(last.values())[-points:]
        wanted = set(chosen)
        rows = [row for row in conn.execute(query) if row.at in wanted]
    else:
        rows = list(conn.execute(query))
    return [
        Sample(
            at=datetime.fromtimestamp(row.at, UTC),
            metrics=wire.unpack(Metrics, zlib.decompress(row.data)),
        )
        for row in rows
    ]
