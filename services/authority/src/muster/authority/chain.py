"""The audit: append-only, each record bound to all before it by a hash.

An edit, a deletion or another order breaks the chain from that place on; see `muster.kit.linking`.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Text, cast, insert, or_, select, update

from muster.authority.tables import audit, state
from muster.contracts.authority import AuditPage, AuditRecord, AuditVerdict, ListAudit
from muster.contracts.records import SignedRun
from muster.kit import wire
from muster.kit.linking import GENESIS, link
from muster.kit.text import clean

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


def page(conn: Connection, ask: ListAudit) -> AuditPage:
    """Return a page of records, newest first; it ends early if they would not fit in a message."""
    order = audit.c.seq.desc() if ask.after is None else audit.c.seq
    query = select(audit).where(*_wanted(ask)).order_by(order).limit(ask.limit + 1)
    items: list[AuditRecord] = []
    size = 0
    for row in conn.execute(query):
        record = AuditRecord.model_validate(row._asdict())
        size += len(wire.pack(record))
        if len(items) == ask.limit or (items and size > _ROOM):
            return AuditPage(items=items, next=items[-1].seq)
        items.append(record)
    return AuditPage(items=items)


def _wanted(ask: ListAudit) -> Iterator[ColumnElement[bool]]:
    """Yield the condition for each thing that is asked for."""
    nodes = cast(audit.c.nodes, Text)
    if ask.before is not None:
        yield audit.c.seq < ask.before
    if ask.after is not None:
        yield audit.c.seq > ask.after
    if ask.since:
        yield audit.c.at >= ask.since
    if ask.until:
        yield audit.c.at < ask.until
    wished: list[tuple[str, Callable[[str], ColumnElement[bool]]]] = [
        (ask.who, lambda text: audit.c.who == text),
        (ask.result, lambda text: audit.c.result == text),
        (ask.action, lambda text: audit.c.action.startswith(text, autoescape=True)),
        (ask.node, lambda text: nodes.contains(text, autoescape=True)),
        (ask.text, _anywhere),
    ]
    yield from (condition(clean(text)) for text, condition in wished if text)


def _anywhere(text: str) -> ColumnElement[bool]:
    """Match records that have *text* somewhere, in small letters or large."""
    columns = (audit.c.who, audit.c.action, audit.c.result, audit.c.detail, audit.c.address)
    places = [*columns, audit.c.run, cast(audit.c.nodes, Text)]
    return or_(*(place.icontains(text, autoescape=True) for place in places))


def signed_for(conn: Connection, node: str) -> Iterator[SignedRun]:
    """Yield the runs whose commands were signed for a node, oldest first."""
    query = (
        select(audit.c.run, audit.c.at, audit.c.who)
        .where(audit.c.action == "run.run", audit.c.result == "ok")
        .where(cast(audit.c.nodes, Text).contains(node, autoescape=True))
        .order_by(audit.c.seq)
    )
    for row in conn.execute(query):
        yield SignedRun(run=row.run, at=row.at, who=row.who)


def head(conn: Connection) -> tuple[int, str]:
    """Return the number and the hash of the last record."""
    row = conn.execute(select(state.c.seq, state.c.hash)).one()
    return int(row.seq), str(row.hash)


def hash_of(conn: Connection, seq: int) -> str:
    """Return the hash of a record; nothing if there is none."""
    if seq == 0:
        return GENESIS
    found = conn.execute(select(audit.c.hash).where(audit.c.seq == seq)).scalar()
    return str(found or "")


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
