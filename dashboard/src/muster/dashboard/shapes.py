"""Numbers and times as people read them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from muster.contracts.nodes import DiskUse, Metrics, NodeState
from muster.contracts.runs import Command, State
from muster.kit.text import clean

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MARKS: Final[Mapping[str, str]] = {
    NodeState.ONLINE: "●", NodeState.OFFLINE: "○", NodeState.NEW: "◌",
    NodeState.PENDING: "◍", NodeState.REVOKED: "■",
    State.WAITING: "◷", State.ACCEPTED: "·", State.QUEUED: "◷", State.DONE: "✓",
    State.CANCELLED: "■", State.LOST: "?",
    "active": "●", "invited": "◌", "disabled": "■", "ended": "○",
}  # fmt: skip
"""One sign for each state that every font has; running ones have ▸, bad ends ✗."""

Colour = Literal["green", "red", "orange", "blue", "gray"]
_COLOURS: Final[Mapping[str, Colour]] = {
    NodeState.ONLINE: "green", NodeState.OFFLINE: "red", NodeState.NEW: "blue",
    NodeState.PENDING: "orange", NodeState.REVOKED: "gray",
    State.WAITING: "orange", State.ACCEPTED: "gray", State.QUEUED: "orange",
    State.SENT: "blue", State.RECEIVED: "blue", State.STARTED: "blue", State.DONE: "green",
    State.CANCELLED: "gray", State.LOST: "orange",
    "active": "green", "invited": "blue", "disabled": "gray", "ended": "orange",
}  # fmt: skip


def size(number: float) -> str:
    """Return bytes as ``1.5 GiB``."""
    for unit in _UNITS:
        if abs(number) < 1024 or unit == _UNITS[-1]:  # noqa: PLR2004
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return ""


def percent(used: float, total: float) -> float | None:
    """Return *used* of *total*, or None where there is no total."""
    return round(100 * used / total, 1) if total else None


def ago(when: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago, in the largest unit."""
    if when is None:
        return "-"
    return duration(max(0.0, ((now or datetime.now(UTC)) - when).total_seconds()))


def duration(seconds: float) -> str:
    """Return a length of time in the largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def state(word: str, label: str) -> str:
    """Return a state as mark and word: never by colour alone."""
    bad = word in set(State) and State(word).final
    return f"{_MARKS.get(word, '✗' if bad else '▸')} {label}"


def colour(word: str) -> Colour:
    """Return the colour of a state."""
    return _COLOURS.get(word, "red")


def free(disk: DiskUse) -> int:
    """Return how many bytes may still be written."""
    return disk.total - disk.used if disk.free is None else disk.free


def full(disk: DiskUse) -> float | None:
    """Return how full a file system is, in percent, as `df` tells it."""
    return percent(disk.used, disk.used + free(disk))


def fullest(metrics: Metrics | None) -> float | None:
    """Return how full the fullest disk is, in percent."""
    disks = metrics.disks if metrics else []
    found = [full(disk) for disk in disks]
    return max((value for value in found if value is not None), default=None)


def memory(metrics: Metrics | None) -> float | None:
    """Return how much of the memory is in use, in percent."""
    return percent(metrics.memory_used, metrics.memory_total) if metrics else None


def command(given: Command, longest: int = 300) -> str:
    """Return a command in one safe line."""
    return clean(given.shell or " ".join(given.argv))[:longest]
