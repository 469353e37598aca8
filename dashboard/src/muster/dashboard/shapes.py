"""Numbers and times as people read them, and rows as tables show them."""

from datetime import UTC, datetime
from typing import Any, Final

from muster.kit.text import clean

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MARKS: Final = {
    "online": "●", "offline": "○", "new": "◌", "revoked": "■",
    "done": "✓", "failed": "✗", "timed_out": "✗", "cancelled": "■", "expired": "✗",
    "refused": "✗", "interrupted": "✗", "lost": "?",
}  # fmt: skip
"""One letter for each state that every font has."""


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


def moment(text: str | None) -> datetime | None:
    """Return an instant of the API."""
    return datetime.fromisoformat(text) if text else None


def ago(text: str | None, now: datetime | None = None) -> str:
    """Return how long ago, in the largest unit."""
    when = moment(text)
    if when is None:
        return "-"
    seconds = max(0, int(((now or datetime.now(UTC)) - when).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def state(word: str, label: str) -> str:
    """Return a state as mark and word: never by colour alone."""
    return f"{_MARKS.get(word, '▸')} {label}"


def fullest(node: dict[str, Any]) -> float | None:
    """Return how full the fullest disk is, in percent."""
    disks = (node.get("metrics") or {}).get("disks") or []
    found = [percent(disk["used"], disk["total"]) for disk in disks]
    return max((value for value in found if value is not None), default=None)


def command(run: dict[str, Any]) -> str:
    """Return a run's command in one safe line."""
    given = run["command"]
    return clean(given.get("shell") or " ".join(given.get("argv") or []))[:300]
