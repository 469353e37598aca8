"""What happened in a run, told again from an event number on.

A target is told once, in the place of its last event; pieces of output in the places of theirs,
with the target shown as running, because its end is told later.
"""

from collections import defaultdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, select

from muster.contracts.runs import (
    READ_LIMIT,
    Piece,
    RunEvent,
    RunEvents,
    RunEventsAfter,
    State,
    Stream,
)
from muster.scheduler.seeing import Seen
from muster.scheduler.store import target_view
from muster.scheduler.tables import output, runs, targets

Place = tuple[int, str]
"""An event number and the node that it is about."""


def events(conn: Connection, run: str, ask: RunEventsAfter, seen: Seen = None) -> RunEvents:
    """Return events of *run* after an event, oldest first, on the nodes that are *seen*."""
    after, limit, with_output = ask.after, ask.limit, ask.output
    head = conn.execute(select(runs.c.seq, runs.c.finished).where(runs.c.id == run)).one()
    query = (
        select(targets.c.seq, targets.c.node)
        .where(targets.c.run == run, targets.c.seq > after, *_on(conn, targets, run, seen))
        .order_by(targets.c.seq)
        .limit(limit + 1)
    )
    sizes: dict[Place, int] = {(row.seq, row.node): 0 for row in conn.execute(query)}
    if with_output:
        query = (
            select(output.c.seq, output.c.node, output.c.size)
            .where(output.c.run == run, output.c.seq > after, *_on(conn, output, run, seen))
            .order_by(output.c.seq)
            .limit(limit * 64)
        )
        for row in conn.execute(query):
            sizes[row.seq, row.node] = sizes.get((row.seq, row.node), 0) + row.size
    told = _fitting(sorted(sizes), sizes, limit)
    if not told:
        return RunEvents(items=[], seq=head.seq)
    more = len(told) < len(sizes)
    pieces = _pieces(conn, run, after, told[-1][0]) if with_output else {}
    rows = _rows(conn, run, {node for _, node in told})
    items = [_event(run, place, rows[place[1]], pieces.get(place, []), head) for place in told]
    return RunEvents(items=items, seq=told[-1][0] if more else head.seq, more=more)


def _on(conn: Connection, table: Table, run: str, seen: Seen) -> list[ColumnElement[bool]]:
    """Return the condition that a row is about a node that is *seen*."""
    if seen is None:
        return []
    nodes = conn.execute(select(targets.c.node).where(targets.c.run == run)).scalars()
    return [table.c.node.in_([node for node in nodes if node in seen])]


def _fitting(places: list[Place], sizes: dict[Place, int], limit: int) -> list[Place]:
    """Return the first places that fit in one message."""
    fitting: list[Place] = []
    total = 0
    for place in places[:limit]:
        total += sizes[place]
        if fitting and total > READ_LIMIT:
            break
        fitting.append(place)
    return fitting


def _pieces(conn: Connection, run: str, after: int, last: int) -> dict[Place, list[Piece]]:
    query = (
        select(output)
        .where(output.c.run == run, output.c.seq > after, output.c.seq <= last)
        .order_by(output.c.seq, output.c.stream, output.c.offset)
    )
    found: dict[Place, list[Piece]] = defaultdict(list)
    for row in conn.execute(query):
        piece = Piece.model_construct(stream=Stream(row.stream), offset=row.offset, data=row.data)
        found[row.seq, row.node].append(piece)
    return found


def _rows(conn: Connection, run: str, nodes: set[str]) -> dict[str, Any]:
    query = select(targets).where(targets.c.run == run, targets.c.node.in_(nodes))
    return {row.node: row for row in conn.execute(query)}


def _event(run: str, place: Place, row: Any, pieces: list[Piece], head: Any) -> RunEvent:
    target = target_view(row)
    seq = place[0]
    if seq < row.seq and target.state.final:
        target = target.model_copy(update={"state": State.STARTED, "finished": None, "exit": None})
    finished: datetime | None = head.finished if seq == head.seq else None
    return RunEvent(run=run, seq=seq, target=target, pieces=pieces, finished=finished)
