"""A measurement: a name, numbers, and their ratio to something measured in the same run."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Figure:
    """One line of the result."""

    what: str
    unit: str
    value: float
    peer: str = ""
    peer_value: float | None = None
    goal: str = ""
    more: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Ours by the peer's."""
        return round(self.value / self.peer_value, 2) if self.peer_value else None

    def line(self) -> str:
        """Return the figure as one line of JSON."""
        return json.dumps({**asdict(self), "ratio": self.ratio}, ensure_ascii=False)


def middle(seconds: Sequence[float]) -> float:
    """Return the median in milliseconds."""
    return round(statistics.median(seconds) * 1000, 2)


def tail(seconds: Sequence[float], share: float = 0.9) -> float:
    """Return a quantile in milliseconds."""
    ordered = sorted(seconds)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 2)


def table(figures: Sequence[Figure]) -> str:
    """Return the figures for people."""
    rows = [("what", "value", "peer", "ratio", "goal")]
    for one in figures:
        peer = f"{one.peer} {one.peer_value:g}" if one.peer_value is not None else one.peer
        ratio = "" if one.ratio is None else f"{one.ratio:g}"
        rows.append((one.what, f"{one.value:g} {one.unit}", peer, ratio, one.goal))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
