"""A run as it is told, event by event; bounded, because a browser shows only so much.

A page begins with the run as it is now and the end of the outputs that it shows, and goes on
with the events after that: old events are never replayed. Output of targets that are not shown
is not kept; when one comes into view, the end of its output is read.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from muster.contracts.runs import RunEvents, RunView, Stream, TargetView

SHOWN: Final = 64 * 1024
"""Bytes of each output that are kept for the screen: the last ones."""

Read = Callable[[str, Stream, int], tuple[int, bytes, bool]]
"""(node, stream, offset) -> where the data begins, the data, whether nothing is stored behind."""
_PARTS: Final = 8


@dataclass
class Output:
    """The end of one output."""

    data: bytes = b""
    offset: int = 0
    """How much of what the command wrote is known here."""
    cut: bool = False

    def take(self, offset: int, data: bytes) -> None:
        """Add a piece; what was told before is not shown twice."""
        if offset + len(data) <= self.offset:
            return
        known = self.data if offset <= self.offset else b""  # what is shown has no holes
        whole = known + data[max(0, self.offset - offset) :]
        self.cut = self.cut or offset > self.offset or len(whole) > SHOWN
        self.data = whole[-SHOWN:]
        self.offset = offset + len(data)


@dataclass
class Shown:
    """One target: its view, and the end of its outputs."""

    target: TargetView
    outputs: dict[Stream, Output] = field(default_factory=lambda: {s: Output() for s in Stream})

    def size(self, stream: Stream) -> int:
        """Return how many bytes the command has written."""
        return self.target.stdout if stream is Stream.OUT else self.target.stderr

    def catch_up(self, read: Read) -> None:
        """Read what is missing of the end of both outputs."""
        for stream, output in self.outputs.items():
            size = self.size(stream)
            for _ in range(_PARTS):
                if output.offset >= size:
                    break
                begin, data, end = read(self.target.node, stream, max(output.offset, size - SHOWN))
                output.take(begin, data)
                if end or not data:
                    break


@dataclass
class Following:
    """What is known of a run."""

    run: str
    view: RunView | None = None
    seq: int | None = None
    targets: dict[str, Shown] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self.view is not None and self.view.over

    def begin(self, view: RunView) -> None:
        """Take the run as it is now."""
        self.view = view
        if self.seq is None:
            self.seq = view.seq
        for target in view.targets:
            self._shown(target)

    def take(self, events: RunEvents, watched: Collection[str]) -> None:
        """Take events in order; output of *watched* nodes is kept."""
        for event in events.items:
            shown = self._shown(event.target)
            for piece in event.pieces if event.target.node in watched else ():
                shown.outputs[piece.stream].take(piece.offset, piece.data)
        self.seq = events.seq

    def _shown(self, target: TargetView) -> Shown:
        shown = self.targets.setdefault(target.node, Shown(target))
        if target.seq >= shown.target.seq:
            shown.target = target
        return shown
