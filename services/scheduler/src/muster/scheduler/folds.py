"""Folds reports of agents into the database: many reports, one transaction.

A re-sent report changes nothing: states only go forward, and pieces are keyed by their offset.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from muster.contracts.runs import Piece, Report, RunEvent, State
from muster.scheduler import outputs, store
from muster.scheduler.folding import Target, fold

log = logging.getLogger(__name__)

Rows = dict[tuple[str, str], Any]
"""Locked rows of `targets` by (run, node)."""


@dataclass(frozen=True, slots=True)
class Told:
    """A report and the node that told it."""

    node: str
    report: Report


@dataclass(frozen=True, slots=True)
class _News:
    row: Any
    new: Target
    pieces: list[Piece]
    taken: int


def fold_batch(conn: Connection, batch: Sequence[Told], now: datetime) -> list[RunEvent]:
    """Fold *batch* into its targets, in order; return the events."""
    rows = store.lock_targets(conn, sorted({(told.report.run, told.node) for told in batch}))
    by_run: dict[str, list[Told]] = defaultdict(list)
    strangers = Counter(t.node for t in batch if (t.report.run, t.node) not in rows)
    for node, number in strangers.items():
        log.warning("%s reports %d times on runs that it is no target of", node, number)
    for told in batch:
        if (told.report.run, told.node) in rows:
            by_run[told.report.run].append(told)
    return [event for run, group in by_run.items() for event in _fold(conn, run, group, rows, now)]


def _news(group: Sequence[Told], rows: Rows, now: datetime) -> Iterator[_News]:
    latest: dict[str, _News] = {}
    for told in group:
        row = rows[told.report.run, told.node]
        known = latest.get(told.node)
        old, taken = (known.new, known.taken) if known else (store.target_of(row), row.pieces)
        new = fold(old, told.report, now)
        pieces = [] if old.state.final else outputs.accept(told.report, taken)
        if new != old or pieces:
            latest[told.node] = _News(row, new, pieces, taken + len(pieces))
            yield latest[told.node]


def _fold(
    conn: Connection, run: str, group: Sequence[Told], rows: Rows, now: datetime
) -> list[RunEvent]:
    news = list(_news(group, rows, now))
    if not news:
        return []
    last = {one.row.node: one for one in news}
    ended = sum(one.new.state.final and not State(one.row.state).final for one in last.values())
    head = store.advance(conn, run, len(news), ended, now)
    changed: dict[str, dict[str, Any]] = {}
    kept: list[dict[str, Any]] = []
    events = []
    for seq, one in enumerate(news, head.seq - len(news) + 1):
        row = store.changed_row(one.row, one.new, now=now, seq=seq, pieces=one.taken)
        changed[one.row.node] = row
        kept += [outputs.row_of(run, one.row.node, piece, seq) for piece in one.pieces]
        over = now if seq == head.seq and ended and head.open <= 0 else None
        events.append(store.event_of(one.row, row, pieces=one.pieces, finished=over))
    outputs.keep(conn, kept)
    for one in news:
        outputs.prune(conn, run, one.row.node, one.pieces, head.output_cap)
    for node, one in last.items():
        if outputs.crowded(one.row.pieces, one.taken):
            changed[node]["pieces"] = outputs.join(conn, run, node, head.output_cap)
    store.change(conn, list(changed.values()))
    return events
