"""The registry's SQL: each function is a part of one transaction that the caller opens."""

import logging
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from muster.contracts.base import Message
from muster.contracts.errors import Conflict, Malformed
from muster.contracts.nodes import Inventory, Metrics, NodeState, Sample
from muster.kit import wire
from muster.registry.entry import Entry
from muster.registry.tables import nodes, samples
from muster.registry.view import ROOM

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)

_AROUND: Final = 70
"""Bytes that a sample takes beside its metrics."""


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
        inventory=_read(Inventory, row.inventory),
        metrics=_read(Metrics, row.metrics),
        metrics_at=row.metrics_at,
    )


def names(conn: Connection) -> set[str]:
    """Return every name that is taken."""
    return set(conn.execute(select(nodes.c.name)).scalars())


def known(conn: Connection, node: str) -> bool:
    """Whether a node is in the table."""
    return conn.execute(select(nodes.c.id).where(nodes.c.id == node)).first() is not None


def _read(kind: type[M], text: str | None) -> M | None:
    """Return what was kept; what cannot be read is told anew by the node, and stops nobody."""
    if text is None:
        return None
    try:
        return wire.unpack(kind, text.encode())
    except Malformed as error:
        log.warning("what was kept cannot be read: %s", error)
        return None


def add(conn: Connection, entry: Entry) -> None:
    """Keep a new node."""
    fixed = {
        "id": entry.id,
        "name": entry.name,
        "public_key": entry.public_key,
        "groups": entry.groups,
        "tags": entry.tags,
        "joined": entry.joined,
    }
    conn.execute(insert(nodes), {**fixed, **_moving(entry)})


def change(conn: Connection, node: str, **values: Any) -> None:
    """Write some columns of a node, and no others; a name that is taken is a `Conflict`."""
    try:
        conn.execute(update(nodes).where(nodes.c.id == node).values(**values))
    except IntegrityError as error:
        raise Conflict("the name is taken") from error


def keep(conn: Connection, entries: Iterable[Entry]) -> None:
    """Write how nodes are; what people and joining decide is not touched."""
    rows = [{"node": entry.id, **_moving(entry)} for entry in entries]
    if rows:
        conn.execute(update(nodes).where(nodes.c.id == bindparam("node")), rows)


def _moving(entry: Entry) -> dict[str, Any]:
    """Return what changes by itself."""
    return {
        "state": entry.state.value,
        "state_since": entry.state_since,
        "seen": entry.seen,
        "reason": entry.reason,
        "version": entry.version,
        "metrics": wire.pack(entry.metrics).decode() if entry.metrics else None,
        "metrics_at": entry.metrics_at,
    }


def pack_inventory(inventory: Inventory) -> str:
    """Return an inventory as it is kept."""
    return wire.pack(inventory).decode()


def put_samples(conn: Connection, rows: Sequence[tuple[str, float, bytes]]) -> None:
    """Keep samples: (node, Unix time, packed metrics)."""
    if rows:
        make = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
        conn.execute(
            make(samples).on_conflict_do_nothing(),
            [{"node": node, "at": at, "data": data} for node, at, data in rows],
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
    """Return at most *points* samples: the last of each of as many equal spans of time.

    They are fewer if so many would not fit in a message.
    """
    mine = (samples.c.node == node, samples.c.at >= start, samples.c.at <= end)
    times = conn.execute(select(samples.c.at).where(*mine).order_by(samples.c.at)).scalars().all()
    if len(times) > points:
        span = max((end - start) / points, 1e-6)
        times = list({int((at - start) / span): at for at in times}.values())[-points:]
    chosen = select(samples.c.at, samples.c.data).where(
        samples.c.node == node, samples.c.at.in_(times)
    )
    rows = [
        (row.at, zlib.decompress(row.data)) for row in conn.execute(chosen.order_by(samples.c.at))
    ]
    step = -(-sum(len(data) + _AROUND for _, data in rows) // ROOM) or 1
    rows = rows[::-step][::-1]
    found = ((at, _read(Metrics, data.decode())) for at, data in rows)
    return [
        Sample(at=datetime.fromtimestamp(at, UTC), metrics=metrics)
        for at, metrics in found
        if metrics
    ]
