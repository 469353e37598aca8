"""Approvals in SQL: each function is a part of one transaction that the caller opens."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from muster.authority.tables import approvals
from muster.contracts.approvals import Approval, ApprovalState, ListApprovals
from muster.contracts.errors import Conflict
from muster.contracts.names import new_id
from muster.contracts.runs import Envelope
from muster.kit.text import clean


def ask_for(conn: Connection, wanted: dict[str, Any], nodes: Sequence[str]) -> None:
    """Keep what waits; a run with very many nodes comes in several parts."""
    row = find(conn, wanted["run"], lock=True)
    if row is None:
        empty = {"state": ApprovalState.PENDING, "decided_by": "", "reason": ""}
        kept = wanted | {"summary": clean(wanted["summary"])[:4000], "nodes": list(nodes)}
        conn.execute(insert(approvals), kept | empty)
        return
    same = (row.by, row.digest, row.run_as) == tuple(wanted[k] for k in ("by", "digest", "run_as"))
    if not same or row.state != ApprovalState.PENDING:
        raise Conflict("this run waits for another command, or was decided")
    both = [*row.nodes, *(node for node in nodes if node not in set(row.nodes))]
    conn.execute(update(approvals).where(approvals.c.run == row.run).values(nodes=both))


def find(conn: Connection, run: str, *, lock: bool = False) -> Any | None:
    """Return the approval of a run."""
    query = select(approvals).where(approvals.c.run == run)
    return conn.execute(query.with_for_update() if lock else query).first()


def page(conn: Connection, ask: ListApprovals, now: datetime) -> list[Any]:
    """Return approvals, newest first, one more than asked for if there are more."""
    query = select(approvals).order_by(approvals.c.run.desc()).limit(ask.limit + 1)
    if ask.before:
        query = query.where(approvals.c.run < ask.before)
    if ask.state is ApprovalState.EXPIRED:
        query = query.where(approvals.c.state == ApprovalState.PENDING, approvals.c.expires <= now)
    elif ask.state is not None:
        query = query.where(approvals.c.state == ask.state)
    if ask.state is ApprovalState.PENDING:
        query = query.where(approvals.c.expires > now)
    return list(conn.execute(query))


def settle(  # one argument per column
    conn: Connection, run: str, state: ApprovalState, by: str, reason: str, now: datetime
) -> None:
    """Write down what was decided."""
    values = {"state": state, "decided": now, "decided_by": by, "reason": reason}
    conn.execute(update(approvals).where(approvals.c.run == run).values(values))


def withdraw(conn: Connection, run: str, by: str, now: datetime) -> None:
    """Let nobody approve a run any more that was cancelled."""
    row = find(conn, run, lock=True)
    if row is not None and row.state == ApprovalState.PENDING:
        settle(conn, run, ApprovalState.WITHDRAWN, by, "", now)


def view(row: Any, names: Mapping[str, str], now: datetime) -> Approval:
    """Return a row as people see it."""
    pending = row.state == ApprovalState.PENDING
    state = ApprovalState.EXPIRED if pending and row.expires <= now else ApprovalState(row.state)
    told = row._asdict() | {"state": state}
    return Approval(**{**told, "nodes": sorted(names.get(node, node) for node in row.nodes)})


def order(row: Any, node: str, epoch: int, now: datetime) -> Envelope:
    """Return what is to be signed for what was approved, for the first node."""
    return Envelope(
        id=new_id(now.timestamp()),
        node=node,
        verb="run",
        run=row.run,
        digest=row.digest,
        run_as=row.run_as,
        caller=row.by,
        issued=now,
        expires=row.expires,
        epoch=epoch,
    )
