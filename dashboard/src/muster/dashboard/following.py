"""A run as it is told, event by event; bounded, because a browser shows only so much."""

import base64
from dataclasses import dataclass, field
from typing import Any, Final

SHOWN: Final = 64 * 1024
"""Bytes of each output that are kept for the screen: the last ones."""

FINAL: Final = frozenset(
    {"done", "failed", "timed_out", "cancelled", "expired", "refused", "interrupted", "lost"}
)


@dataclass
class Shown:
    """One target: its view, and the end of its outputs."""

    target: dict[str, Any]
    outputs: dict[str, bytes] = field(default_factory=lambda: {"stdout": b"", "stderr": b""})
    offsets: dict[str, int] = field(default_factory=lambda: {"stdout": 0, "stderr": 0})
    cut: bool = False

    def take(self, piece: dict[str, Any]) -> None:
        """Add a piece of output; what was told before is not shown twice."""
        stream, offset = piece["stream"], int(piece["offset"])
        data = base64.b64decode(piece["data"])
        seen = self.offsets[stream]
        if offset + len(data) <= seen:
            return
        if offset > seen:
            self.cut = True
        whole = self.outputs[stream] + data[max(0, seen - offset) :]
        self.cut = self.cut or len(whole) > SHOWN
        self.outputs[stream] = whole[-SHOWN:]
        self.offsets[stream] = offset + len(data)


@dataclass
class Following:
    """What is known of a run."""

    run: str
    seq: int = 0
    over: bool = False
    targets: dict[str, Shown] = field(default_factory=dict)

    def begin(self, view: dict[str, Any]) -> None:
        """Take the run's targets as they are now."""
        for target in view["targets"]:
            shown = self.targets.setdefault(target["node"], Shown(target))
            shown.target = target
        self.over = view["finished"] is not None

    def take(self, events: dict[str, Any]) -> None:
        """Take events in order."""
        for event in events["items"]:
            target = event["target"]
            shown = self.targets.setdefault(target["node"], Shown(target))
            for piece in event["pieces"]:
                shown.take(piece)
        self.seq = events["seq"]
