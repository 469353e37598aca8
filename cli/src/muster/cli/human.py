"""Sizes, times and commands as people read them; every text of a stranger is made safe here."""

import shlex
from datetime import UTC, datetime
from typing import Any, Final

from muster.cli import durations
from muster.cli.i18n import t
from muster.kit.text import clean

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP: Final = 1024.0
_DAY: Final = 86400


def size(count: float) -> str:
    """Return a number of bytes: ``512 B``, ``1.5 GiB``, ``1,007 MiB``."""
    value, unit = float(count), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    shown = f"{value:.1f}" if unit and value < 10 else f"{value:,.0f}"  # noqa: PLR2004
    return f"{shown} {_UNITS[unit]}"


def moment(text: str | None) -> datetime | None:
    """Return the time that the server tells."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def local(text: str | None) -> str:
    """Return a time on the reader's own clock: ``2026-05-01 12:00:00``."""
    at = moment(text)
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else "-"


def ago(text: str | None, now: datetime | None = None) -> str:
    """Return how long ago something was; after a day, when it was."""
    at = moment(text)
    if at is None:
        return "-"
    passed = ((now or datetime.now(UTC)) - at).total_seconds()
    if passed >= _DAY:
        return local(text)
    return t("time.ago", span=durations.show(max(1, round(passed))))


def until(text: str | None, now: datetime | None = None) -> str:
    """Return how long it is to a time that lies ahead."""
    at = moment(text)
    left = (at - (now or datetime.now(UTC))).total_seconds() if at else 0
    return durations.show(max(0, round(left)))


def command(told: dict[str, Any]) -> str:
    """Return a command in one line."""
    return clean(str(told.get("shell") or shlex.join(map(str, told.get("argv") or ()))))


def safe(value: object) -> str:
    """Return what a stranger told, with nothing hidden in it."""
    return clean(str(value)) if value is not None else ""
