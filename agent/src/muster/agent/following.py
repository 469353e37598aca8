"""Which bytes of an output are told next: pure rules, over sizes and offsets.

The head (a quarter of the cap) is told whole. Behind it a reader who watches live sees the
newest bytes, with gaps where the command writes faster than it makes sense to tell. At the end
the tail (another quarter) is made whole, so that the stored copy is head and tail.

The scheduler keeps a piece whole or not at all, so pieces never overlap and never cross the
border of the head.
"""

from dataclasses import dataclass, field
from typing import Final

from muster.contracts.runs import PIECE

MOST: Final = 5
"""Pieces in one report: 5 times 128 KiB are 853 KiB in base64."""
BEHIND: Final = 256 * 1024
"""Whoever is further behind skips ahead."""

_MOST_TOLD: Final = 256

Span = tuple[int, int]
"""Offset and length."""


@dataclass(slots=True)
class Track:
    """How far one output has been told."""

    keep: int
    """Bytes of the head, and as many of the tail."""
    at: int = 0
    """Everything before was told or skipped."""
    told: list[tuple[int, int, int]] = field(default_factory=list)
    """Begin, end and number of pieces of what was told behind the head, in order."""

    def plan(self, size: int, *, over: bool, most: int = MOST) -> list[Span]:
        """Return at most *most* pieces that come next, of *size* bytes that are there."""
        spans = _cut(self.at, min(size, self.keep), most)
        if self.at + sum(length for _, length in spans) < min(size, self.keep):
            return spans
        begin = max(self.at, self.keep)
        if over:
            for gap_begin, gap_end in self._gaps(size):
                spans += _cut(gap_begin, gap_end, most - len(spans))
        elif size - begin > BEHIND:
            spans += _cut(size - PIECE, size, most - len(spans))
        else:
            spans += _cut(begin, size, most - len(spans))
        return spans

    def sent(self, spans: list[Span], size: int) -> None:
        """Remember that *spans* were told when the output had *size* bytes."""
        for offset, length in spans:
            end = offset + length
            self.at = max(self.at, end)
            if end > self.keep:
                self.told.append((offset, end, 1))
        self.told = sorted(one for one in self.told if one[1] > size - self.keep)
        if len(self.told) > _MOST_TOLD:
            self._join_older_half()

    def _join_older_half(self) -> None:
        """Forget the borders between old pieces, so that a long run costs no memory."""
        half = len(self.told) // 2
        joined: list[tuple[int, int, int]] = []
        for begin, end, pieces in self.told[:half]:
            if joined and joined[-1][1] == begin:
                joined[-1] = (joined[-1][0], end, joined[-1][2] + pieces)
            else:
                joined.append((begin, end, pieces))
        self.told[:half] = joined

    def _gaps(self, size: int) -> list[Span]:
        """Return begin and end of what of the tail has not been told."""
        begin = max(self.keep, size - self.keep)
        gaps = []
        for told_begin, told_end, pieces in self.told:
            # a single piece across the border of the tail is going to be dropped: tell it anew
            if told_end <= begin or (told_begin < begin and pieces == 1):
                continue
            if told_begin > begin:
                gaps.append((begin, told_begin))
            begin = max(begin, told_end)
        if begin < size:
            gaps.append((begin, size))
        return gaps


def _cut(begin: int, end: int, most: int) -> list[Span]:
    return [
        (offset, min(PIECE, end - offset))
        for offset in range(begin, min(end, begin + max(0, most) * PIECE), PIECE)
    ]


def share(out: list[Span], err: list[Span]) -> tuple[list[Span], list[Span]]:
    """Return what of both outputs fits in one report; neither can starve the other."""
    err = err[: max(2, MOST - len(out))]
    return out[: MOST - len(err)], err
