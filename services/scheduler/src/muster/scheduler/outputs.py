"""The stored copy of output: head and tail of each stream, bounded, read by offset."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from muster.contracts.runs import READ_LIMIT, Output, Piece, Report, State, Stream
from muster.scheduler.folding import believable, halves, in_head, too_much
from muster.scheduler.tables import output, targets

MANY: Final = 512
"""After so many pieces of one target, neighbours are joined: many commands write line by line."""

JOINED: Final = 16 * 1024
"""Bytes of a joined piece, at most: the tail is dropped piece by piece."""

MOST_PIECES: Final = 5_000
"""Of one target: a node that leaves holes between single bytes must not fill the table."""


def accept(report: Report, taken: int) -> list[Piece]:
    """Return the pieces of *report* that may be kept; *taken* were kept before."""
    room = max(0, MOST_PIECES - taken)
    return [piece for piece in report.pieces if believable(piece, report)][:room]


def keep(conn: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows of `output`; of two pieces that begin at the same byte the longer stays."""
    if not rows:
        return
    postgres = conn.dialect.name == "postgresql"
    made = postgresql.insert(output) if postgres else sqlite.insert(output)
    new = made.excluded
    longer = made.on_conflict_do_update(
        index_elements=list(output.primary_key),
        set_={"size": new.size, "seq": new.seq, "data": new.data},
        where=new.size > output.c.size,
    )
    conn.execute(longer, rows)


def row_of(run: str, node: str, piece: Piece, seq: int) -> dict[str, Any]:
    """Return *piece* as a row of `output`."""
    return {
        "run": run,
        "node": node,
        "stream": piece.stream.value,
        "offset": piece.offset,
        "size": len(piece.data),
        "seq": seq,
        "data": piece.data,
    }


def crowded(before: int, now: int) -> bool:
    """Whether so many pieces have come, from *before* to *now*, that it is time to `join`."""
    return now // MANY > before // MANY


def join(conn: Connection, run: str, node: str, cap: int) -> int:
    """Join neighbouring pieces of one target; returns how many pieces it has then."""
    left = 0
    for stream in Stream:
        mine = (output.c.run == run, output.c.node == node, output.c.stream == stream.value)
        rows = conn.execute(select(output).where(*mine).order_by(output.c.offset)).all()
        groups = list(_neighbours(rows, halves(cap)))
        left += len(groups)
        crowds = [group for group in groups if len(group) > 1]
        gone = [row.offset for group in crowds for row in group]
        for start in range(0, len(gone), MANY):
            some = gone[start : start + MANY]
            conn.execute(delete(output).where(*mine, output.c.offset.in_(some)))
        keep(conn, [_one_of(group) for group in crowds])
    return left


def _neighbours(rows: Sequence[Any], head: int) -> Iterator[list[Any]]:
    """Yield *rows*, ordered, in groups that hang together on one side of the head's border."""
    group: list[Any] = []
    end = 0
    for row in rows:
        fits = (
            group
            and row.offset <= end
            and row.offset + row.size - group[0].offset <= JOINED
            and (end <= head) == (row.offset + row.size <= head)
        )
        if group and not fits:
            yield group
            group, end = [], 0
        group.append(row)
        end = max(end, row.offset + row.size)
    if group:
        yield group


def _one_of(group: Sequence[Any]) -> dict[str, Any]:
    """Return one row in the place of neighbours, as new as the newest of them."""
    first = group[0]
    data = bytearray()
    for row in group:
        data += row.data[first.offset + len(data) - row.offset :]
    joined = {"size": len(data), "seq": max(row.seq for row in group), "data": bytes(data)}
    return {**first._asdict(), **joined}


def prune(conn: Connection, run: str, node: str, pieces: Sequence[Piece], cap: int) -> None:
    """Drop the oldest pieces of the tail that *pieces* have pushed out."""
    for stream in {piece.stream for piece in pieces if not in_head(piece, cap)}:
        mine = (output.c.run == run, output.c.node == node, output.c.stream == stream.value)
        tail = conn.execute(
            select(output.c.offset, output.c.size).where(
                *mine, output.c.offset + output.c.size > halves(cap)
            )
        ).all()
        if drop := too_much([(row.offset, row.size) for row in tail], cap):
            conn.execute(delete(output).where(*mine, output.c.offset.in_(drop)))


def read(conn: Connection, run: str, node: str, stream: Stream, offset: int) -> Output | None:
    """Return what is stored from *offset* on, as far as it hangs together; None: no target."""
    target = conn.execute(
        select(targets.c.state, targets.c.stdout, targets.c.stderr).where(
            targets.c.run == run, targets.c.node == node
        )
    ).first()
    if target is None:
        return None
    mine = (output.c.run == run, output.c.node == node, output.c.stream == stream.value)
    query = (
        select(output.c.offset, output.c.data)
        .where(*mine, output.c.offset + output.c.size > offset)
        .order_by(output.c.offset)
        .limit(READ_LIMIT // 1024)
    )
    begin, data = offset, bytearray()
    for row in conn.execute(query):
        if not data:
            begin = max(offset, row.offset)
        elif row.offset > begin + len(data) or len(data) + len(row.data) > READ_LIMIT:
            break
        data += row.data[max(0, begin + len(data) - row.offset) :]
    behind = select(func.max(output.c.offset + output.c.size)).where(*mine)
    last = conn.execute(behind).scalar() or 0
    size = target.stdout if stream is Stream.OUT else target.stderr
    over = State(target.state).final and begin + len(data) >= last
    return Output(offset=begin, data=bytes(data), size=size, end=over)
