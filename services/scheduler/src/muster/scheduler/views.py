"""Runs as contracts, each as far as its reader may see it."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from muster.contracts.errors import NotFound
from muster.contracts.runs import Command, ListRuns, RunPage, RunView, State, TargetView
from muster.scheduler import store
from muster.scheduler.seeing import Seen
from muster.scheduler.tables import runs, targets

_LISTED: Final = [
    column for column in targets.c if column.name not in {"envelope", "cancel", "pieces", "changed"}
]
_LOOKED_AT: Final = 2000
"""Runs that one question looks at, for a reader who may see only some."""


def one(conn: Connection, run: str, seen: Seen = None) -> RunView:
    """Return the run whose id begins with *run*, or raise `NotFound`."""
    row = store.find(conn, run)
    found = [target for target in targets_of(conn, row.id) if seen is None or target.node in seen]
    if not found:
        raise NotFound(f"no run {run}")
    return view(row, Counter(target.state for target in found), found)


def page(conn: Connection, ask: ListRuns, seen: Seen = None) -> RunPage:
    """Return the newest runs that *ask* wants, of those that touch a node that is *seen*."""
    items: list[RunView] = []
    before, looked_at = ask.before, 0
    while looked_at < _LOOKED_AT:
        size = ask.limit + 1 if seen is None else 200
        rows = _rows(conn, ask, before, size)
        numbers = _numbers(conn, [row.id for row in rows], seen)
        for row in rows:
            if len(items) == ask.limit:
                return RunPage(items=items, next=items[-1].id)
            if seen is None or row.id in numbers:
                items.append(view(row, numbers.get(row.id, {})))
        if len(rows) < size:
            return RunPage(items=items)
        before = rows[-1].id
        looked_at += len(rows)
    return RunPage(items=items, next=before)


def _rows(conn: Connection, ask: ListRuns, before: str, size: int) -> list[Row[Any]]:
    query = select(runs).order_by(runs.c.id.desc()).limit(size)
    if before:
        query = query.where(runs.c.id < before)
    if ask.by:
        query = query.where(runs.c.by == ask.by)
    if ask.active:
        query = query.where(runs.c.finished.is_(None))
    if ask.node:
        on_node = select(targets.c.run).where(
            (targets.c.node == ask.node) | (targets.c.name == ask.node)
        )
        query = query.where(runs.c.id.in_(on_node))
    return list(conn.execute(query))


def _numbers(conn: Connection, ids: list[str], seen: Seen) -> dict[str, dict[State, int]]:
    """Return for each run how many targets are in each state, of those that are seen."""
    if seen is None:
        return store.counts_of(conn, ids)
    query = select(targets.c.run, targets.c.node, targets.c.state).where(targets.c.run.in_(ids))
    found: dict[str, Counter[State]] = {}
    for run, node, state in conn.execute(query):
        if node in seen:
            found.setdefault(run, Counter())[State(state)] += 1
    return {run: dict(numbers) for run, numbers in found.items()}


def targets_of(conn: Connection, run: str, *, after: int = -1) -> list[TargetView]:
    """Return the targets of *run* that changed after event *after*, ordered by name."""
    query = (
        select(*_LISTED)
        .where(targets.c.run == run, targets.c.seq > after)
        .order_by(targets.c.name, targets.c.node)
    )
    return [store.target_view(row) for row in conn.execute(query)]


def view(row: Row[Any], numbers: dict[State, int], found: Iterable[TargetView] = ()) -> RunView:
    """Return a row of `runs` as a contract."""
    return RunView(
        id=row.id,
        command=Command.model_validate_json(row.args),
        note=row.note,
        created=row.created,
        by=row.by,
        expires=row.expires,
        finished=row.finished,
        counts=numbers,
        targets=list(found),
        seq=row.seq,
    )
