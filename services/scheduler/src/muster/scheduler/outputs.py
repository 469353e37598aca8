"""The stored copy of output: head and tail of each stream, bounded, read by offset."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from muster.contracts.runs import READ_LIMIT, Output, Piece, Report, State, Stream
from muster.scheduler.folding import believable, halves, in_head, too_much
from muster.scheduler.tables import output, targets

MOST_PIECES: Final = 50_000
"""Of one target: a node that sends single bytes must not fill the table."""


def accept(report: Report, taken: int) -> list[Piece]:
    """Return the pieces of *report* that may be kept; *taken* were kept before."""
    room = max(0, MOST_PIECES - taken)
    return [piece for piece in report.pieces if believable(piece, report)][:room]


def keep(conn: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows of `output`; a piece that is there already stays as it is."""
    if not rows:
        return
    postgres = conn.dialect.name == "postgresql"
    made = postgresql.insert(output) if postgres else sqlite.insert(output)
    conn.execute(made.on_conflict_do_nothing(), rows)


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
