"""How a target changes: pure rules, no clock, no database.

A target only goes forward, and a final state stands for ever. `sent` is set from the moment the
node may have got the command: what was never sent can be ended here; everything else can only
be ended by the node, or be lost.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from muster.contracts.runs import FINAL, Piece, Report, State, Stream
from muster.kit.text import clean

TELLABLE: Final = frozenset(
    {
        State.RECEIVED,
        State.STARTED,
        State.DONE,
        State.FAILED,
        State.TIMED_OUT,
        State.CANCELLED,
        State.REFUSED,
        State.INTERRUPTED,
    }
)
"""The states that an agent may tell; the others are ours."""


@dataclass(frozen=True, slots=True)
class Target:
    """One node's part in a run, as far as the rules need it."""

    state: State
    reason: str = ""
    exit: int | None = None
    signal: int | None = None
    started: datetime | None = None
    finished: datetime | None = None
    stdout: int = 0
    stderr: int = 0


def fold(target: Target, report: Report, now: datetime) -> Target:
    """Return *target* as it is after *report*; itself if the report has no news."""
    if target.state.final or report.state not in TELLABLE:
        return target
    if report.state.rank < target.state.rank:
        return target
    over = report.state in FINAL
    return replace(
        target,
        state=report.state,
        reason=clean(report.reason)[:1000],
        exit=report.exit,
        signal=report.signal,
        started=target.started or report.started,
        finished=(report.finished or now) if over else None,
        stdout=max(target.stdout, report.stdout),
        stderr=max(target.stderr, report.stderr),
    )


def halves(cap: int) -> int:
    """Return how many bytes of the head, and as many of the tail, one stream may keep."""
    return cap // 4


def in_head(piece: Piece, cap: int) -> bool:
    """Whether *piece* belongs to the head, which is kept whole."""
    return piece.offset + len(piece.data) <= halves(cap)


def too_much(tail: list[tuple[int, int]], cap: int) -> list[int]:
    """Return the offsets of tail pieces to drop, the oldest first, so that the tail fits.

    *tail* holds (offset, size) pairs in any order.
    """
    room = halves(cap)
    drop = []
    for offset, size in sorted(tail, reverse=True):
        room -= size
        if room < 0:
            drop.append(offset)
    return drop


def believable(piece: Piece, report: Report) -> bool:
    """Whether *piece* lies within what the report says was written."""
    size = report.stdout if piece.stream is Stream.OUT else report.stderr
    return bool(piece.data) and piece.offset + len(piece.data) <= size
