"""The scheduler's SQL: each function is a part of one transaction that the caller opens."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from muster.contracts.errors import Conflict, NotFound
from muster.contracts.names import Id
from muster.contracts.nodes import Target as Meant
from muster.contracts.runs import (
    FINAL,
    RUN_FINISHED,
    Piece,
    RunEvent,
    RunFinished,
    State,
    TargetView,
)
from muster.kit import outbox
from muster.scheduler.folding import Target
from muster.scheduler.tables import output, runs, targets

_LISTED = [c for c in targets.c if c.name not in {"envelope", "cancel", "pieces", "changed"}]
_OPEN = [state.value for state in State if state not in FINAL]
UNSENT: Final = (State.ACCEPTED.value, State.SENT.value)
"""States in which nobody knows yet whether the node has the command."""

HELD: Final = (State.WAITING.value, State.QUEUED.value)
"""States in which nothing has been sent."""

NOT_THERE: Final = (*UNSENT, State.QUEUED.value)
"""States in which the node has not said that it has the command."""

APPROVAL: Final = "another person has to approve it"

WAITING: Final = and_(targets.c.state == State.QUEUED.value, targets.c.sent.is_(None))
"""Matches targets that have never left here."""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run about to be kept."""

    id: Id
    created: datetime
    by: str
    key: str
    note: str
    args: bytes
    expires: datetime
    output_cap: int


def insert_run(
    conn: Connection, run: NewRun, meant: Sequence[Meant], envelopes: Sequence[bytes]
) -> None:
    """Keep *run* and its targets, or raise `Conflict` if its key has been used."""
    row = asdict(run) | {"key": run.key or None, "seq": 0, "open": len(meant)}
    try:
        conn.execute(insert(runs), row)
    except IntegrityError as error:
        raise Conflict("this idempotency key has just been used") from error
    empty = {"stdout": 0, "stderr": 0, "pieces": 0, "seq": 0}
    conn.execute(
        insert(targets),
        [
            {
                "run": run.id,
                "node": node.id,
                "name": node.name,
                "state": (State.ACCEPTED if envelope else State.WAITING).value,
                "reason": "" if envelope else APPROVAL,
                "changed": run.created,
                "envelope": envelope,
                **empty,
            }
            for node, envelope in zip(meant, envelopes, strict=True)
        ],
    )


def counts_of(conn: Connection, ids: Sequence[str]) -> dict[str, dict[State, int]]:
    """Return for each run how many targets are in each state."""
    query = (
        select(targets.c.run, targets.c.state, func.count())
        .where(targets.c.run.in_(ids))
        .group_by(targets.c.run, targets.c.state)
    )
    found: dict[str, dict[State, int]] = defaultdict(dict)
    for run, state, number in conn.execute(query):
        found[run][State(state)] = number
    return found


def by_key(conn: Connection, by: str, key: str) -> Row[Any] | None:
    """Return the run that *by* made with *key*."""
    return conn.execute(select(runs).where(runs.c.by == by, runs.c.key == key)).first()


def find(conn: Connection, prefix: str) -> Row[Any]:
    """Return the one run whose id begins with *prefix*."""
    query = select(runs).where(runs.c.id >= prefix, runs.c.id < prefix + "~").limit(2)
    found = conn.execute(query).all()
    if not found:
        raise NotFound(f"no run {prefix}")
    if len(found) > 1:
        raise Conflict(f"several runs begin with {prefix}: give more of the id")
    return found[0]


def is_over(conn: Connection, run: str) -> bool:
    """Whether every target of a run is in a final state."""
    return conn.execute(select(runs.c.finished).where(runs.c.id == run)).scalar() is not None


def target_view(row: Row[Any]) -> TargetView:
    """Return a row of `targets` as a contract."""
    return TargetView.model_construct(
        node=row.node,
        name=row.name,
        state=State(row.state),
        reason=row.reason,
        exit=row.exit,
        signal=row.signal,
        sent=row.sent,
        started=row.started,
        finished=row.finished,
        stdout=row.stdout,
        stderr=row.stderr,
        seq=row.seq,
    )


def lock_targets(conn: Connection, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """Return the rows of the (run, node) *pairs*, locked until the transaction ends."""
    if not pairs:
        return {}
    query = select(targets).with_for_update()
    if len({run for run, _ in pairs}) == 1:
        query = query.where(
            targets.c.run == pairs[0][0], targets.c.node.in_([node for _, node in pairs])
        )
    else:
        query = query.where(tuple_(targets.c.run, targets.c.node).in_(pairs))
    return {(row.run, row.node): row for row in conn.execute(query)}


def advance(conn: Connection, run: str, events: int, ended: int, now: datetime) -> Row[Any]:
    """Count *events* and *ended* targets of a run; finish it when none is left."""
    row = conn.execute(
        update(runs)
        .where(runs.c.id == run)
        .values(seq=runs.c.seq + events, open=runs.c.open - ended)
        .returning(runs.c.seq, runs.c.open, runs.c.finished, runs.c.output_cap)
    ).one()
    if ended and row.open <= 0 and row.finished is None:
        conn.execute(update(runs).where(runs.c.id == run).values(finished=now))
        fact = RunFinished(run=run, counts=counts_of(conn, [run]).get(run, {}), at=now)
        outbox.put(conn, RUN_FINISHED, fact, run)
    return row


_UPDATE = (
    update(targets)
    .where(targets.c.run == bindparam("run_"), targets.c.node == bindparam("node_"))
    .values({
        name: bindparam(name)
        for name in (
            "state", "reason", "exit", "signal", "sent", "started", "finished", "changed",
            "stdout", "stderr", "pieces", "seq",
        )
    })
)  # fmt: skip


def change(conn: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write changed targets; each row names its run and node as ``run_`` and ``node_``."""
    if rows:
        conn.execute(_UPDATE, rows)


def changed_row(row: Any, new: Target, *, now: datetime, seq: int, pieces: int) -> dict[str, Any]:
    """Return the parameters of `change` that make *row* into *new*."""
    return {
        "run_": row.run,
        "node_": row.node,
        "state": new.state.value,
        "reason": new.reason,
        "exit": new.exit,
        "signal": new.signal,
        "sent": row.sent or (now if new.state.rank >= State.SENT.rank and tells(new) else None),
        "started": new.started,
        "finished": new.finished,
        "changed": now,
        "stdout": new.stdout,
        "stderr": new.stderr,
        "pieces": pieces,
        "seq": seq,
    }


def tells(new: Target) -> bool:
    """Whether the state proves, or allows, that the node has the command."""
    return new.state not in {State.EXPIRED, State.QUEUED, State.ACCEPTED, State.WAITING}


def settle(
    conn: Connection, rows: Sequence[Any], state: State, reason: str, now: datetime
) -> list[RunEvent]:
    """Bring *rows* (locked targets) into *state* by our own decision; return the events."""
    by_run: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_run[row.run].append(row)
    events = []
    for run, group in by_run.items():
        ended = len(group) if state.final else 0
        head = advance(conn, run, len(group), ended, now)
        last = head.seq
        over = now if ended and head.open <= 0 else None
        changed = []
        for number, row in enumerate(group, last - len(group) + 1):
            new = Target(
                state=state,
                reason=reason,
                started=row.started,
                finished=now if state.final else None,
                stdout=row.stdout,
                stderr=row.stderr,
            )
            changed.append(changed_row(row, new, now=now, seq=number, pieces=row.pieces))
            events.append(event_of(row, changed[-1], finished=over if number == last else None))
        change(conn, changed)
    return events


def event_of(
    row: Any,
    new: dict[str, Any],
    *,
    pieces: Sequence[Piece] = (),
    finished: datetime | None = None,
) -> RunEvent:
    """Return the event that tells of a changed target."""
    return RunEvent.model_construct(
        run=row.run,
        seq=new["seq"],
        target=TargetView.model_construct(
            node=row.node,
            name=row.name,
            state=State(new["state"]),
            **{
                name: new[name]
                for name in (
                    "reason", "exit", "signal", "sent", "started", "finished",
                    "stdout", "stderr", "seq",
                )
            },
        ),
        pieces=list(pieces),
        finished=finished,
    )  # fmt: skip


def target_of(row: Any) -> Target:
    """Return a row of `targets` as the rules see it."""
    return Target(
        state=State(row.state),
        reason=row.reason,
        exit=row.exit,
        signal=row.signal,
        started=row.started,
        finished=row.finished,
        stdout=row.stdout,
        stderr=row.stderr,
    )


def unmarked(before: datetime) -> ColumnElement[bool]:
    """Match targets that were accepted *before* and are not yet written down as sent."""
    return and_(targets.c.state == State.ACCEPTED.value, targets.c.changed < before)


def held(by: Collection[str] | None = None) -> list[ColumnElement[bool]]:
    """Match targets that have never left here, of runs made *by* some people; None: by all."""
    asked = targets.c.state == State.WAITING.value
    return [or_(WAITING, asked), *([] if by is None else [runs.c.by.in_(sorted(by))])]


def out_of_time(now: datetime, late: datetime) -> ColumnElement[bool]:
    """Match targets whose run has expired *now*, or of which nothing was heard since *late*."""
    there = [State.RECEIVED.value, State.STARTED.value]
    return or_(
        and_(targets.c.state.in_(HELD), runs.c.expires < now),
        and_(targets.c.state.in_(UNSENT), runs.c.expires < late),
        and_(targets.c.state.in_(there), targets.c.changed < late),
    )


def peek(conn: Connection, *conditions: Any) -> bool:
    """Whether a target that is not over fits *conditions*."""
    query = (
        select(targets.c.node)
        .join(runs, runs.c.id == targets.c.run)
        .where(targets.c.state.in_(_OPEN), *conditions)
        .limit(1)
    )
    return conn.execute(query).first() is not None


def open_targets(
    conn: Connection, *conditions: Any, limit: int = 5000, lock: bool = True
) -> Sequence[Row[Any]]:
    """Return targets that are not over and fit *conditions*, oldest run first."""
    query = (
        select(targets, runs.c.expires, runs.c.args, runs.c.by)
        .join(runs, runs.c.id == targets.c.run)
        .where(targets.c.state.in_(_OPEN), *conditions)
        .order_by(targets.c.run)
        .limit(limit)
    )
    return conn.execute(query.with_for_update(of=targets) if lock else query).all()


def order(conn: Connection, orders: Sequence[tuple[str, str, bytes]]) -> None:
    """Keep signed orders to cancel: (run, node, order)."""
    if orders:
        conn.execute(
            update(targets)
            .where(targets.c.run == bindparam("run_"), targets.c.node == bindparam("node_"))
            .values(cancel=bindparam("order")),
            [{"run_": run, "node_": node, "order": blob} for run, node, blob in orders],
        )


def fresh_target(node: Meant, envelope: bytes) -> TargetView:
    """Return the view of a target that has just been accepted, or waits for an approval."""
    state, reason = (State.ACCEPTED, "") if envelope else (State.WAITING, APPROVAL)
    return TargetView.model_construct(node=node.id, name=node.name, state=state, reason=reason)


def sign(conn: Connection, run: str, envelopes: Sequence[tuple[str, bytes]]) -> None:
    """Keep the envelopes (node, envelope) of targets that were approved."""
    conn.execute(
        update(targets)
        .where(targets.c.run == run, targets.c.node == bindparam("node_"))
        .values(envelope=bindparam("blob")),
        [{"node_": node, "blob": blob} for node, blob in envelopes],
    )


def forget(conn: Connection, before: str) -> int:
    """Delete finished runs with an id smaller than *before*, at most 200 at a time."""
    old = (
        select(runs.c.id)
        .where(runs.c.id < before, runs.c.finished.is_not(None))
        .order_by(runs.c.id)
        .limit(200)
    )
    ids = list(conn.execute(old).scalars())
    for table in (output, targets):
        conn.execute(delete(table).where(table.c.run.in_(ids)))
    return conn.execute(delete(runs).where(runs.c.id.in_(ids))).rowcount
