"""The audit: append-only, each record bound to all before it by a hash.

``hash = SHA-256(previous hash + canonical JSON of the record)``. An edit, a deletion or another
order breaks the chain from that place on.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from muster.authority.tables import audit, state
from muster.contracts.authority import AuditPage, AuditRecord, AuditVerdict, ListAudit
from muster.kit import wire
from muster.kit.text import clean

GENESIS: Final = "0" * 64
_PAGE: Final = 1000
_ROOM: Final = 800_000
"""Bytes of records in one answer."""


def append(  # noqa: PLR0913
    conn: Connection,
    who: str,
    action: str,
    *,
    now: datetime,
    nodes: Sequence[str] = (),
    result: str = "ok",
    detail: str = "",
    address: str = "",
    run: str = "",
) -> int:
    """Write a record in the transaction of what it tells; returns its number."""
    head = conn.execute(select(state.c.seq, state.c.hash).with_for_update()).one()
    row: dict[str, Any] = {
        "seq": head.seq + 1,
        "at": now,
        "who": clean(who)[:200],
        "action": action,
        "nodes": list(nodes),
        "result": clean(result)[:200],
        "detail": clean(detail)[:4000],
        "address": clean(address)[:200],
        "run": run,
    }
    row["hash"] = link(head.hash, row)
    conn.execute(insert(audit), row)
    conn.execute(update(state).values(seq=row["seq"], hash=row["hash"]))
    return int(row["seq"])


def link(previous: str, row: dict[str, Any]) -> str:
    """Return the hash of a record that follows *previous*."""
    at: datetime = row["at"]
    body = {**row, "at": at.astimezone(UTC).isoformat(timespec="microseconds")}
    body.pop("hash", None)
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{previous}{canonical}".encode()).hexdigest()


def page(conn: Connection, ask: ListAudit) -> AuditPage:
    """Return a page of records, newest first; it ends early if they would not fit in a message."""
    query = select(audit).order_by(audit.c.seq.desc()).limit(ask.limit + 1)
    if ask.before is not None:
        query = query.where(audit.c.seq < ask.before)
    if ask.who:
        query = query.where(audit.c.who == ask.who)
    if ask.action:
        query = query.where(audit.c.action.startswith(ask.action, autoescape=True))
    items: list[AuditRecord] = []
    size = 0
    for row in conn.execute(query):
        record = AuditRecord.model_validate(row._asdict())
        size += len(wire.pack(record))
        if len(items) == ask.limit or (items and size > _ROOM):
            return AuditPage(items=items, next=items[-1].seq)
        items.append(record)
    return AuditPage(items=items)


def verify(conn: Connection) -> AuditVerdict:
    """Follow the chain from its beginning to its head."""
    head = conn.execute(select(state.c.seq, state.c.hash)).one()
    number, previous = 0, GENESIS
    for row in _rows(conn):
        if row["seq"] != number + 1 or link(previous, row) != row["hash"]:
            return AuditVerdict(records=number, head=head.hash, broken_at=number + 1)
        number, previous = row["seq"], row["hash"]
    if (number, previous) != (head.seq, head.hash):
        return AuditVerdict(records=number, head=head.hash, broken_at=number + 1)
    return AuditVerdict(records=number, head=head.hash)


def _rows(conn: Connection) -> Iterator[dict[str, Any]]:
    last = 0
    while True:
        query = select(audit).where(audit.c.seq > last).order_by(audit.c.seq).limit(_PAGE)
        rows = conn.execute(query).all()
        for row in rows:
            last = row.seq
            yield row._asdict()
        if len(rows) < _PAGE:
            return
