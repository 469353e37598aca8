"""Times of the week as people write and read them: ``mon-fri 08:00-18:00 Asia/Shanghai``."""

import re
from typing import Any, Final

from muster.contracts.policy import WEEK

_DAYS: Final[tuple[str, ...]] = WEEK
_TEXT: Final = re.compile(
    r"(?:(?P<days>[a-z,-]+)\s+)?(?P<start>\d\d?:\d\d)-(?P<end>\d\d?:\d\d)(?:\s+(?P<zone>\S+))?",
    re.IGNORECASE,
)


def parse(text: str) -> dict[str, Any]:
    """Return the window that *text* means, as the API takes it, or raise `ValueError`."""
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    days = [day for part in (found["days"] or "mon-sun").lower().split(",") for day in _days(part)]
    return {
        "days": list(dict.fromkeys(days)),
        "start": found["start"].zfill(5),
        "end": "00:00" if found["end"] == "24:00" else found["end"].zfill(5),
        "zone": found["zone"] or "UTC",
    }


def _days(text: str) -> list[str]:
    """Return the days of ``mon`` or ``fri-mon``."""
    first, _, last = text.partition("-")
    start, end = _DAYS.index(first), _DAYS.index(last or first)
    return [_DAYS[(start + step) % 7] for step in range((end - start) % 7 + 1)]


def show(window: dict[str, Any]) -> str:
    """Return what `parse` reads."""
    every = "" if len(window["days"]) == len(_DAYS) else f"{_folded(window['days'])} "
    return f"{every}{window['start'][:5]}-{window['end'][:5]} {window['zone']}"


def _folded(days: list[str]) -> str:
    """Return ``mon-fri,sun`` for a list of days."""
    spans: list[list[str]] = []
    for day in sorted(days, key=_DAYS.index):
        if spans and _DAYS.index(spans[-1][-1]) == _DAYS.index(day) - 1:
            spans[-1].append(day)
        else:
            spans.append([day])
    return ",".join(span[0] if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans)
